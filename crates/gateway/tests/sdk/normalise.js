'use strict';
// Turns what was heard into a recording: the same conversation gives the same text, whenever and wherever it was held.
//
// Owns the placeholders. What a server or a run chooses freely (client ids, epochs, times, tokens, versions) becomes `<kind-n>`, numbered
// in order of appearance, so that the same value stays recognisable; everything else stays as it was.

const wire = require('./wire.js');

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const jwt = /^[\w-]+\.[\w-]+\.[\w-]*$/;

class Placeholders {
  constructor() {
    this.known = new Map();
    this.counts = new Map();
  }

  for(kind, value) {
    const key = `${kind} ${value}`;
    if (!this.known.has(key)) {
      const count = (this.counts.get(kind) ?? 0) + 1;
      this.counts.set(kind, count);
      this.known.set(key, `<${kind}-${count}>`);
    }
    return this.known.get(key);
  }
}

class Normaliser {
  constructor(run) {
    this.run = run;
    this.placeholders = new Placeholders();
    this.epochs = new Set();
  }

  /** Makes the epochs of a server known, wherever they are found in what it said, so that a client's use of one is recognised. */
  learn(value, key) {
    if (key === 'epoch' && typeof value === 'string' && value) this.epochs.add(value);
    if (value && typeof value === 'object' && !(value instanceof Uint8Array)) for (const [name, item] of Object.entries(value)) this.learn(item, name);
  }

  string(value, key, from) {
    const { placeholders } = this;
    if (key === 'token' && jwt.test(value)) return placeholders.for('token', value);
    if (key === 'version' && from === 'server') return '<version>';
    if (key === 'epoch' && this.epochs.has(value)) return placeholders.for('epoch', value);
    if (value.length > 500) return `${value.slice(0, 20)}... ${value.length} characters`;
    return value.replaceAll(this.run, '').replace(uuid, (id) => placeholders.for('client', id));
  }

  value(value, key, from) {
    if (typeof value === 'string') return this.string(value, key, from);
    if (Array.isArray(value)) return value.map((item) => this.value(item, key, from));
    if (value instanceof Uint8Array) return this.value(bytesAsJson(value), key, from);
    if (value && typeof value === 'object') {
      if (typeof value.toNumber === 'function') return value.toNumber();
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      return Object.fromEntries(
        entries.map(([name, item]) => [this.string(name), this.value(item, name, from)]).sort(([a], [b]) => compare(a, b)),
      );
    }
    if (typeof value === 'number' && key === 'ttl') return '<ttl>';
    if (typeof value === 'number' && key === 'time') return '<time>';
    return value;
  }
}

function bytesAsJson(bytes) {
  const text = Buffer.from(bytes).toString('utf8');
  try {
    return JSON.parse(text);
  } catch {
    return { text };
  }
}

const isPing = (message) => Object.keys(message).length === 0;

// What one connection said. A frame of the client stays together, because clients decide what goes into one; how a server cuts what it
// sends is chance, so each of its messages is an entry of its own.
function conversation(heard, encoding, normaliser, pings) {
  const entries = [];
  for (const { from, frame, binary, close } of heard) {
    if (close) {
      entries.push({ [`${from} closes`]: close });
      continue;
    }
    let messages;
    try {
      messages = wire.decode(encoding, frame, from === 'client' ? wire.command : wire.reply);
      if (messages.some((one) => one === null || typeof one !== 'object')) throw new Error('not messages');
    } catch {
      const shown = binary ? frame.toString('hex') : frame.toString('utf8');
      const cut = shown.length > 200 ? `${shown.slice(0, 40)}... ${shown.length} characters` : shown;
      entries.push({ [`${from} sends ${binary ? 'bytes' : 'text'}`]: cut.replaceAll(normaliser.run, '') });
      continue;
    }
    const kept = pings ? messages : messages.filter((one) => !isPing(one));
    if (kept.length === 0 && messages.length > 0) continue;
    const shown = kept.map((one) => normaliser.value(one, undefined, from));
    if (from === 'client') entries.push({ client: shown.length > 20 ? abridged(shown) : shown });
    else for (const one of shown) entries.push({ server: one });
  }
  return tallied(entries);
}

// Hundreds of answers in a row that differ in nothing but the id are one entry each kind, with a count.
function tallied(entries) {
  const answers = entries.filter(({ server }) => server?.id);
  if (answers.length < 50) return entries;
  const counts = new Map();
  for (const { server: { id, ...rest } } of answers) {
    const text = JSON.stringify(rest, (key, value) => (key === 'epoch' ? undefined : value));
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  const tally = [...counts].map(([text, count]) => ({ [`server, ${count} times`]: JSON.parse(text) }));
  const first = entries.indexOf(answers[0]);
  return [...entries.slice(0, first), ...tally, ...entries.slice(first).filter((entry) => !answers.includes(entry))];
}

function abridged(messages) {
  return [messages[0], `... ${messages.length - 2} more ...`, messages[messages.length - 1]];
}

// Where the protocol leaves it open whether a reply or a push comes first: replies by id, then pushes by channel, those of one
// channel as they came; within what the server says between two things the client says.
function repliesFirst(entries) {
  const ordered = [];
  let run = [];
  const flush = () => {
    const replies = run.filter(({ server }) => server.id).sort((a, b) => a.server.id - b.server.id);
    const pushes = run.filter(({ server }) => !server.id).sort((a, b) => compare(channelOf(a), channelOf(b)));
    ordered.push(...replies, ...pushes);
    run = [];
  };
  for (const entry of entries) {
    if (entry.server) {
      run.push(entry);
    } else {
      flush();
      ordered.push(entry);
    }
  }
  flush();
  return ordered;
}

const channelOf = ({ server }) => server.push?.channel ?? '';
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const byChannel = (seen) => [...seen].sort(([, a], [, b]) => compare(a?.channel ?? '', b?.channel ?? ''));

const encodingOf = (subprotocol, query) => (subprotocol === 'centrifuge-protobuf' || query.includes('protobuf') ? 'protobuf' : 'json');

function saidByServer({ chosen, query, heard }) {
  return heard.filter(({ from, frame }) => from === 'server' && frame).flatMap(({ frame }) => {
    try {
      return wire.decode(encodingOf(chosen, query), frame, wire.reply);
    } catch {
      return [];
    }
  });
}

// Two clients hear of things at the same time, in any order; what one of them hears has an order. The first word says who it was.
function byObserver(seen) {
  const observer = ([what]) => what.split(' ')[0];
  return [...new Set(seen.map(observer))].sort().map((name) => seen.filter((one) => observer(one) === name));
}

/** The recording of one scenario: what every connection said, and what the application saw of it. */
function recording(scenario, encoding, run, connections, seen) {
  const normaliser = new Normaliser(run);
  for (const connection of connections) for (const message of saidByServer(connection)) normaliser.learn(message);
  for (const [what, value] of seen) if (what.startsWith('api ')) normaliser.learn(value);
  const inOrder = scenario.freeOrder ? repliesFirst : (entries) => entries;
  return {
    scenario: scenario.name,
    encoding,
    server: scenario.server,
    connections: connections.map(({ asked, chosen, refused, query, heard }) => {
      const spoken = encodingOf(chosen, query);
      return {
        subprotocol: refused ? { asked, refused } : { asked, chosen },
        ...(query ? { query } : {}),
        conversation: inOrder(conversation(heard, spoken, normaliser, scenario.pings)),
      };
    }),
    application: byObserver(seen).flatMap((one) => (scenario.freeOrder ? byChannel(one) : one)).map(([what, value]) => ({ [what]: normaliser.value(value, undefined, 'server') })),
  };
}

/** As a file: JSON with one message on a line, so that a difference is a line. */
function asText({ connections, application, ...rest }) {
  const list = (items, indent) => (items.length ? `[\n${items.map((item) => indent + JSON.stringify(item)).join(',\n')}\n${indent.slice(2)}]` : '[]');
  const head = Object.entries(rest).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)},`).join('\n');
  const told = connections.map(({ conversation, ...handshake }) =>
    `    {\n${Object.entries(handshake).map(([name, value]) => `      ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`).join('')}      "conversation": ${list(conversation, '        ')}\n    }`);
  return `{\n${head}\n  "connections": [${told.length ? `\n${told.join(',\n')}\n  ` : ''}],\n  "application": ${list(application, '    ')}\n}\n`;
}

module.exports = { recording, asText };
