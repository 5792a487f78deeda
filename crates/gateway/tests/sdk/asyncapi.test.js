'use strict';
// The description of the client endpoints against the truth: what was recorded, and what a gateway says that is started for it.
//
// What is in the recordings and not in the description, or the other way round, stands in a list here with its reason, and an entry that
// is no longer needed is a failure too, so that the lists stay true. The numbers are compared with the code by tests/it/asyncapi.rs.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const Ajv = require('ajv');
const { schemasWithoutId } = require('@asyncapi/specs');
const { Description, isJson } = require('./description.js');
const { converse } = require('./converse.js');
const wire = require('./wire.js');

// Recordings in which a client says what is not of the protocol, or what Fanfare has only an error for.
const wrongOnPurpose = {
  'history-empty-channel': 'no channel',
  'presence-empty-channel': 'no channel',
  'presence-stats-empty-channel': 'no channel',
  'publish-empty-channel': 'no channel',
  'publish-keyed': 'members of keyed channels, which there are none of',
  'publish-nothing': 'no data',
  'refresh-without-token': 'an empty token',
  'sub-refresh-without-token': 'an empty token',
  'subscribe-channel-outside-ascii': 'a name that no channel can have',
  'subscribe-channel-too-long': 'a name that no channel can have',
  'subscribe-empty-channel': 'no channel',
  'subscribe-keyed': 'members of keyed channels, which there are none of',
  'subscribe-with-an-unknown-delta': 'a kind of difference that there is not',
  'tags-by-a-rule-that-is-none': 'a test that there is not',
  'unsubscribe-empty-channel': 'no channel',
  'wire-connect-without-id': 'no id',
  'wire-fatal-in-the-middle-of-a-frame': 'no channel',
  'wire-id-without-request': 'nothing but an id',
  'wire-json-array': 'an array',
  'wire-json-id-too-big': 'an id of more than 32 bits',
  'wire-json-negative-id': 'an id below 0',
  'wire-json-not-utf8': 'a name that no channel can have',
  'wire-json-null-members': 'null where there is nothing',
  'wire-json-of-another-type': 'an id that is a text',
  'wire-json-unknown-members': 'members that nobody knows',
  'wire-ping-request': 'a command that no client has',
  'wire-request-without-id': 'no id',
  'wire-two-requests-in-one': 'two commands in one',
};

// What the server of the recordings says and Fanfare does not.
const foreign = {
  'publication.epoch': 'the first publication of a channel tells its epoch; in Fanfare only replies do',
  'publication.version': 'publications of applications have no versions in Fanfare',
  'unsubscribe-without-channel': 'Fanfare ends subscriptions one by one, and names each',
  'close-1009': 'some clients give up for good after it without a word, so Fanfare says 3501 and why',
};

// What no recording has, because scenarios cannot make it happen; but a conversation with Fanfare does.
const heardLive = [
  'messages/json', 'messages/disconnectPush', 'messages/emulated',
  'messages/uniConnect', 'messages/uniConnected', 'messages/uniPublication', 'messages/uniDisconnect',
  'ConnectResult.session', 'ConnectResult.node', 'Session', 'Node',
  'EmulationRequest', 'EmulationRequest.session', 'EmulationRequest.node', 'EmulationRequest.data',
  'ConnectPush', 'ConnectPush.connect', 'Connect', 'Connect.client', 'Connect.version', 'Connect.subs', 'Connect.ping', 'Connect.session',
  'Connect.expires', 'Connect.ttl', 'DisconnectPush', 'DisconnectPush.disconnect', 'Disconnect', 'Disconnect.code', 'Disconnect.reason',
  'CloseCode 3001 shutdown', 'CloseCode 3501 message too large',
  'PlainCloseCode 1001 shutdown', 'PlainCloseCode 1009 message too large', 'PlainCloseCode 1001 come back',
];

// What neither has.
const unheard = {
  'Connect.data': 'needs a backend that has something to say',
  'messages/uniJoin': 'needs a subscription of the server that asks for it',
  'messages/uniLeave': 'the same',
  'messages/uniSubscribed': 'the server API has to say it',
  'messages/uniUnsubscribed': 'the same',
  'messages/uniRefreshed': 'the same',
  'ErrorCode 101 unauthorized': 'the server of the recordings closes with 3501 instead, and --dev lets everybody in',
  'ErrorCode 110 expired': 'needs a token that outlives what it grants',
  'ErrorCode 111 too many requests': 'needs rates, which neither has',
  'UnsubscribeCode 2500 insufficient state': 'needs a loss on the way between processes',
  'UnsubscribeCode 2502 state invalidated': 'nothing asks for it yet',
  'UnsubscribeCode application': 'the server API has to say it',
  'CloseCode 1002 protocol error': 'needs a broken frame, which the sockets here do not send',
  'CloseCode 1007 invalid UTF-8': 'needs a broken frame, which the sockets here do not send',
  'CloseCode 3004 internal server error': 'needs a bug',
  'CloseCode 3006 subscription expired': 'the server API has to make a subscription that expires',
  'CloseCode 3008 slow': 'needs a client that does not read, for a megabyte',
  'CloseCode 3011 force reconnect': 'nothing asks for it yet',
  'CloseCode 3013 too many requests': 'needs rates, which neither has',
  'CloseCode 3014 state invalidated': 'nothing asks for it yet',
  'CloseCode 3509 too many errors': 'nothing asks for it yet',
  'PlainCloseCode 1002 protocol error': 'needs a broken frame, which the sockets here do not send',
  'PlainCloseCode 1007 invalid UTF-8': 'needs a broken frame, which the sockets here do not send',
  'PlainCloseCode 1008 policy violation': 'needs rates, which neither has',
  'PlainCloseCode 1011 internal error': 'needs a bug',
  'PlainCloseCode 1013 slow consumer': 'needs a client that does not read, for a megabyte',
  'PlainCloseCode application': 'the server API has to say it',
};

// What no request is answered with here.
const unheardStatuses = {
  'emulation 403': '--dev lets pages of every origin in',
  'emulation 503': 'needs a second process, which does not answer',
};

const description = () => new Description();

// --- the document by itself

test('it is AsyncAPI 3.0', () => {
  // The official schema has keywords and formats that a strict validator stumbles over.
  const check = new Ajv({ strict: false, validateFormats: false }).compile(schemasWithoutId['3.0.0']);
  const { document } = description();
  assert.ok(check(document), JSON.stringify(check.errors, null, 1));
  assert.equal(check({ ...document, channels: { bare: { addresses: '/' } } }), false, 'the check can fail');
});

test('every reference leads somewhere', () => {
  const { document } = description();
  const from = (part) => (part && typeof part === 'object' ? [...(part.$ref ? [part.$ref] : []), ...Object.values(part).flatMap(from)] : []);
  const references = from(document);
  assert.ok(references.length > 100);
  const it = new Description(document);
  for (const reference of references) it.at(reference);
  assert.throws(() => it.at('#/components/schemas/Nothing'));
});

test('every message is said by somebody, has examples, and they fit', () => {
  const it = description();
  const { channels, components } = it.document;
  const said = new Set(Object.keys(channels).flatMap((channel) => ['client', 'server'].flatMap((from) => it.messages(channel, from))));
  for (const [name, { examples = [], ...message }] of Object.entries(components.messages)) {
    if (!isJson(message)) continue;
    assert.ok(said.has(name), `nobody says ${name}`);
    assert.ok(examples.length, `${name} has no example`);
    for (const example of examples) assert.deepEqual(it.check(`#/components/messages/${name}/payload`, example.payload), [], name);
  }
  for (const name of Object.keys(components.schemas)) it.check(`#/components/schemas/${name}`, null);
});

// --- against the schema of the Protobuf encoding, which is the code's

// What is called otherwise in JSON, and messages that have the same members.
const renamed = {
  Unsubscribe: ['Unsubscription'], Subscribe: ['ServerSideSubscription'], Join: ['Attendance'], Leave: ['Attendance'], Refresh: ['Expiry'],
  RefreshResult: ['Expiry'], StreamPosition: ['Position'], FilterNode: ['FilterTest', 'FilterNode'], SubRefreshResult: ['Expiry'], UnsubscribeRequest: ['ChannelRequest'],
  PresenceRequest: ['ChannelRequest'], PresenceStatsRequest: ['ChannelRequest'], UnsubscribeResult: ['Empty'], PublishResult: ['Empty'],
};

// Fields that no client needs.
const undescribed = {
  'Command.ping': 'no client says it; the connection would end',
  'PingRequest': 'the same',
  'Push.message': 'nothing sends it yet',
  'Message': 'the same',
  'Connect.pong': 'nothing that who only hears says is listened to',
  'Connect.node': 'the same',
  'ServerSubscription': 'an entry of a map, which JSON has too',
  'RefreshResult.client': 'the client knows',
  'RefreshResult.version': 'the client knows',
  'SubscribeRequest.type': 'anything but 0 is error 108',
  'PublishRequest.type': 'anything but 0 is error 108',
  'SubRefreshRequest.type': 'anything but 0 is error 108',
};

// `{ Command: ['id', 'connect', ...], ... }`
function fieldsOf(schema) {
  const messages = [...schema.matchAll(/^message (\w+) \{([^}]*)\}/gm)];
  return Object.fromEntries(messages.map(([, name, body]) => [name, [...body.matchAll(/(\w+) = \d+;/g)].map(([, field]) => field)]));
}

test('every member of the Protobuf schema is described, and no other', () => {
  const it = description();
  const { messages, schemas } = it.document.components;
  const membersOf = (parts) => [...new Set(parts.flatMap(({ properties = {} }) => Object.keys(properties)))];
  const said = (from) => it.messages('centrifuge', from).map((name) => messages[name].payload);
  const pushes = Object.keys(schemas).filter((name) => name.endsWith('Push')).map((name) => schemas[name]);
  const envelopes = { Command: said('client'), Reply: said('server'), Push: pushes };
  const { file } = messages.protobufCommands['x-protobuf'];
  const fields = fieldsOf(fs.readFileSync(path.join(__dirname, '../../docs', file), 'utf8'));
  assert.deepEqual(Object.values(messages).map((message) => message['x-protobuf']).filter(Boolean), ['Command', 'Reply', 'EmulationRequest'].map((message) => ({ file, message })));
  const differing = Object.entries(fields).flatMap(([message, names]) => {
    const parts = envelopes[message] ?? (renamed[message] ?? [message]).map((name) => schemas[name]);
    if (!parts.every(Boolean)) return [message];
    const known = membersOf(parts);
    return [...names.filter((name) => !known.includes(name)), ...known.filter((name) => !names.includes(name))].map((name) => `${message}.${name}`);
  });
  assert.deepEqual(differing.sort(), Object.keys(undescribed).sort());
});

// --- against the recordings

const placeholder = { '<ttl>': 1, '<time>': 1 };
const uuid = (number) => `00000000-0000-4000-8000-${number.padStart(12, '0')}`;

// A recording shows what the server chose as a placeholder: that is read as something of the kind. Whether it was of that kind only the
// live conversation can tell.
function withChoices(text) {
  return text.replace(/"(<ttl>|<time>)"/g, (_, name) => placeholder[name]).replace(/<client-(\d+)>/g, (_, number) => uuid(number));
}

const isAbridgement = (one) => typeof one === 'string' && /^\.\.\. \d+ more \.\.\.$/.test(one);

/** Every message and close of the recordings in JSON: `{ scenario, from, message }` or `{ scenario, from, close }`. */
function recorded() {
  const directory = path.join(__dirname, 'recorded');
  const said = [];
  for (const name of fs.readdirSync(directory).filter((file) => file.endsWith('.json.json'))) {
    const { scenario, connections } = JSON.parse(withChoices(fs.readFileSync(path.join(directory, name), 'utf8')));
    for (const entry of connections.flatMap(({ conversation }) => conversation)) {
      for (const [who, what] of Object.entries(entry)) {
        if (who === 'client') said.push(...what.filter((one) => !isAbridgement(one)).map((message) => ({ scenario, from: 'client', message })));
        else if (who === 'server') said.push({ scenario, from: 'server', message: what });
        // Many in a row are shown once, without their ids.
        else if (/^server, \d+ times$/.test(who)) said.push({ scenario, from: 'server', message: { id: 1, ...what } });
        // 1006 is no code but the lack of one: the connection was lost.
        else if (who === 'server closes' && what[0] !== 1006) said.push({ scenario, from: 'server', close: what });
      }
    }
  }
  return said;
}

function publicationsOf({ push, history, subscribe, connect }) {
  const lists = [history, subscribe, ...Object.values(connect?.subs ?? {})].map((one) => one?.publications ?? []);
  return [push?.pub, ...lists.flat()].filter(Boolean);
}

// Takes out of what the server said what Fanfare does not say, and notes that it was there.
function withoutForeign(message, noted) {
  for (const publication of publicationsOf(message)) {
    for (const member of ['epoch', 'version']) {
      if (!(member in publication)) continue;
      noted.add(`publication.${member}`);
      delete publication[member];
    }
  }
  return message;
}

// What is wrong with what somebody said in a channel; codes and their texts are looked up too.
function complaintsAbout(it, channel, { from, message, close }) {
  const isPlain = channel === 'bare' || channel === 'raw';
  if (close) return it.complaintsAboutCode(isPlain ? 'PlainCloseCode' : 'CloseCode', ...close);
  const complaints = it.complaints(channel, from, message);
  if (from === 'server' && !isPlain) {
    if (message.error) complaints.push(...it.complaintsAboutCode('ErrorCode', message.error.code, message.error.message));
    // Who only hears gets pushes without a wrapping; elsewhere an answer has a member of that name too, which is empty.
    const { unsubscribe, disconnect } = message.push ?? (channel.startsWith('uni') ? message : {});
    if (disconnect) complaints.push(...it.complaintsAboutCode('CloseCode', disconnect.code, disconnect.reason));
    if (unsubscribe) complaints.push(...it.complaintsAboutCode('UnsubscribeCode', unsubscribe.code, unsubscribe.reason));
  }
  return complaints;
}

const shown = ({ message, close }) => JSON.stringify(message ?? close).slice(0, 300);

function foreignName({ message, close }) {
  if (close?.[0] === 1009) return 'close-1009';
  return message?.push?.unsubscribe && !message.push.channel ? 'unsubscribe-without-channel' : undefined;
}

test('everything recorded is as described, and everything described is recorded', () => {
  const it = description();
  const unexpected = [];
  const wrong = new Set();
  const noted = new Set();
  for (const one of recorded()) {
    if (one.from === 'server' && one.message) withoutForeign(one.message, noted);
    const complaints = complaintsAbout(it, 'centrifuge', one);
    if (complaints.length === 0) continue;
    if (one.from === 'client' && wrongOnPurpose[one.scenario]) wrong.add(one.scenario);
    else if (foreignName(one)) noted.add(foreignName(one));
    else unexpected.push(`${one.scenario}, the ${one.from}: ${shown(one)}: ${complaints.join(', ')}`);
  }
  assert.deepEqual(unexpected, []);
  assert.deepEqual([...wrong].sort(), Object.keys(wrongOnPurpose).sort(), 'each is found to be wrong');
  assert.deepEqual([...noted].sort(), Object.keys(foreign).sort(), 'each is there');
  const missing = it.everything().filter((part) => !it.seen.has(part));
  assert.deepEqual(missing.sort(), [...heardLive, ...Object.keys(unheard)].sort());
});

test('what differs from the description is found', () => {
  const it = description();
  const wrong = (one) => complaintsAbout(it, 'centrifuge', one).length > 0;
  const client = uuid('1');
  for (const message of [
    { id: 1, connect: { client, version: 'v', expires: true } },
    { id: 1, connect: { client: 'somebody', version: 'v' } },
    { id: 1, connect: { client, version: 'v', pong: false } },
    { id: 2, subscribe: { colour: 'red' } },
    { id: 2, publish: {}, push: {} },
    { id: 2, error: { code: 103, message: 'token expired' } },
    { id: 2, error: { code: 2000, message: 'permission denied' } },
    { id: 3, presence: {} },
    { push: { channel: 'room', join: {} } },
    { push: { channel: 'a b', pub: { data: 1 } } },
    { push: { channel: 'room', unsubscribe: { code: 2500, reason: 'because' } } },
    { push: { channel: 'room', unsubscribe: { code: 3000, reason: 'because' } } },
    { id: 2 },
  ]) {
    assert.ok(wrong({ from: 'server', message }), JSON.stringify(message));
  }
  assert.ok(wrong({ from: 'server', close: [3501, 'shutdown'] }));
  const isWrongFor = (channel, message, from = 'server') => complaintsAbout(it, channel, { from, message }).length > 0;
  const ended = { disconnect: { code: 3001, reason: 'shutdown' } };
  for (const channel of ['httpStream', 'sse']) assert.ok(!isWrongFor(channel, { push: ended }) && isWrongFor(channel, ended), channel);
  for (const channel of ['uniWebSocket', 'uniHttpStream', 'uniSse']) {
    assert.ok(!isWrongFor(channel, ended) && isWrongFor(channel, { push: ended }), channel);
    assert.ok(isWrongFor(channel, { disconnect: { code: 3001, reason: 'because' } }), channel);
    assert.ok(isWrongFor(channel, { connect: { client, version: 'v' } }), channel);
  }
  assert.ok(wrong({ from: 'server', message: { push: ended } }), 'a WebSocket has a Close frame for it');
  assert.ok(isWrongFor('emulation', { session: client, data: '{}' }, 'client'));
  assert.ok(wrong({ from: 'server', message: { id: 1, connect: {} } }));
  assert.ok(!wrong({ from: 'client', message: { id: 1, connect: {} } }));
});

// --- against Fanfare

test('everything that Fanfare says is as described', async () => {
  const it = description();
  const unexpected = [];
  const statuses = new Set();
  for (const { channel: where, from, frame, close, status } of await converse()) {
    if (status) {
      statuses.add(`${where} ${status}`);
      continue;
    }
    const said = close ? [{ channel: where, from, close }] : messagesOf(where, frame).map((one) => ({ from, ...one }));
    for (const { channel, ...one } of said) {
      // A client may close as it likes.
      if (one.close && from === 'client') continue;
      const complaints = complaintsAbout(it, channel, one);
      if (complaints.length) unexpected.push(`${channel}, the ${from}: ${shown(one)}: ${complaints.join(', ')}`);
    }
  }
  assert.deepEqual(unexpected, []);
  const heard = [...statuses, ...Object.keys(unheardStatuses)];
  assert.deepEqual(heard.sort(), it.statuses('emulation').map((status) => `emulation ${status}`).sort());
  const usual = ['connected', 'subscribed', 'unsubscribed', 'published', 'present', 'counted', 'refreshed', 'subRefreshed', 'refusal',
    'publicationPush', 'joinPush', 'leavePush', 'ping', 'pong'].map((name) => `messages/${name}`);
  const members = ['ConnectResult.subs', 'ConnectResult.ttl', 'ConnectResult.ping', 'SubscribeResult.ttl', 'Publication.info',
    'SubscribeRequest.tf', 'SubscribeRequest.delta', 'SubscribeResult.delta', 'Publication.delta', 'CloseCode 3508 not available'];
  assert.deepEqual([...usual, ...members, ...heardLive].filter((part) => !it.seen.has(part)), [], 'each was heard');
});

function messagesOf(channel, frame) {
  const messages = channel === 'bare' || channel === 'raw' ? [JSON.parse(frame.toString('utf8'))] : wire.decode('json', frame);
  const said = messages.map((message) => ({ channel, message }));
  // What a client says for its connection is what it would say in a socket.
  const commands = channel === 'emulation' ? messages.flatMap(({ data }) => wire.decode('json', Buffer.from(data))) : [];
  return [...said, ...commands.map((message) => ({ channel: 'centrifuge', message }))];
}
