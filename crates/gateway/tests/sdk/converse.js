'use strict';
// One conversation with a Fanfare that is started for it in development mode: clients of the SDK, plain sockets, and its end.
//
// Gives every frame that was heard, as it was. Waits for what is to be heard, never for time to pass; says what it waited for in vain.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const { Centrifuge } = require('centrifuge');
const { EventSource } = require('eventsource');
const { WebSocket } = require('ws');
const { startFanfare, toml } = require('./fanfare.js');
const { until } = require('./processes.js');
const { startHttpTap } = require('./httptap.js');
const { startWiretap } = require('./wiretap.js');
const wire = require('./wire.js');

const secret = 'a secret that is long enough for anybody';
const patience = 15_000;

const settings = `dev = true\n\n${toml({
  listener: { address: '127.0.0.1', port: 0 },
  admin: { address: '127.0.0.1:0' },
  tokens: { hmac_secret: secret },
  centrifuge: {
    transports: ['websocket', 'http_stream', 'sse', 'uni_websocket', 'uni_http_stream', 'uni_sse'],
    ping_interval: '2s',
    pong_timeout: '1900ms',
  },
  drain: { delay: '0s', window: '0s' },
  log: { format: 'json' },
})}`;

function tokenOf(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${body}.${crypto.createHmac('sha256', secret).update(body).digest('base64url')}`;
}

// Tokens count whole seconds, so what is to be good for a moment is given three: two at least are left when it comes.
const soon = (seconds) => Math.floor(Date.now() / 1000) + seconds;

// Where the channels of the description are that have no WebSocket.
const withoutSocket = {
  '/connection/http_stream': 'httpStream',
  '/connection/sse': 'sse',
  '/emulation': 'emulation',
  '/connection/uni_http_stream': 'uniHttpStream',
  '/connection/uni_sse': 'uniSse',
};

class Conversation {
  constructor(taps) {
    this.taps = taps;
    this.endings = new AbortController();
    this.clients = [];
    this.sockets = [];
  }

  /**
   * Every frame so far: `{ channel, from, frame }` or `{ channel, from, close }`; and `{ channel, from, status }` of what was answered without
   * a body.
   */
  heard() {
    const bySockets = Object.entries(this.taps).flatMap(([channel, tap]) =>
      tap.connections.flatMap(({ heard }) => heard.map((one) => ({ channel, ...one }))));
    const byRequests = this.http.exchanges.flatMap(({ address, method, said, status, heard }) => {
      const channel = withoutSocket[address];
      // What was refused need not be as described.
      const from = (who, frame) => ({ channel, from: who, frame });
      const isTaken = method !== 'OPTIONS' && (status === 200 || status === 204);
      return [
        ...(isTaken && said.length ? [from('client', said)] : []),
        ...heard.map((line) => from('server', line)),
        ...(status && status !== 200 ? [{ channel, from: 'server', status }] : []),
      ];
    });
    return [...bySockets, ...byRequests];
  }

  /** Waits until somebody has said a message of the Centrifuge protocol of which this holds. */
  hears(what, holds, from = 'server', channel = 'centrifuge') {
    const messages = () => this.heard()
      .filter((one) => one.channel === channel && one.frame && one.from === from)
      .flatMap(({ frame }) => wire.decode('json', frame));
    return until(what, () => messages().find(holds));
  }

  closes(channel, code) {
    return until(`a close of ${channel} with ${code}`, () =>
      this.heard().find((one) => one.channel === channel && one.from === 'server' && one.close?.[0] === code));
  }

  async client(options, transports = this.taps.centrifuge.url) {
    const client = new Centrifuge(transports, { websocket: WebSocket, ...options });
    this.clients.push(client);
    client.connect();
    await client.ready(patience);
    return client;
  }

  async subscribed(client, channel, options) {
    const subscription = client.newSubscription(channel, options);
    subscription.subscribe();
    await subscription.ready(patience);
    return subscription;
  }

  async socket(channel, query = '') {
    const socket = new WebSocket(this.taps[channel].url + query, { perMessageDeflate: false });
    this.sockets.push(socket);
    socket.on('error', () => {});
    await new Promise((resolve, reject) => socket.once('open', resolve).once('close', reject));
    return socket;
  }
}

async function converseBySdk(conversation) {
  const anna = await conversation.client({
    getToken: async () => tokenOf({ sub: 'anna', exp: soon(3), channels: ['news'], info: { name: 'Anna' } }),
    data: { from: 'here' },
    name: 'test',
    version: '1',
  });
  const room = await conversation.subscribed(anna, 'room', { joinLeave: true });
  const bob = await conversation.client();
  const his = await conversation.subscribed(bob, 'room', { data: { seat: 4 } });
  await conversation.hears('a join', ({ push }) => push?.join && push.channel === 'room');
  await his.publish({ text: 'hello' });
  await conversation.hears('a publication', ({ push }) => push?.pub?.data.text === 'hello');
  await assert.rejects(bob.publish('elsewhere', 1), { code: 103 });
  await room.presence();
  await room.presenceStats();
  // Whether there is something to answer these with does not matter here, only that the answer is as described.
  await Promise.allSettled([room.history({ limit: 1 }), bob.rpc('price', { of: 'tea' })]);
  his.unsubscribe();
  await conversation.hears('a leave', ({ push }) => push?.leave && push.channel === 'room');

  const filter = { op: 'and', nodes: [{ key: 'level', cmp: 'gte', val: '5' }, { op: 'not', nodes: [{ key: 'lang', cmp: 'in', vals: ['de', 'fr'] }] }] };
  await conversation.subscribed(bob, 'alarms', { tagsFilter: filter });
  await conversation.subscribed(anna, 'staff', {
    getToken: async () => tokenOf({ sub: 'anna', channel: 'staff', exp: soon(3), info: { role: 'cook' } }),
  });
  await conversation.hears('a new token', ({ refresh }) => refresh);
  await conversation.hears('a new token of a channel', (reply) => reply.sub_refresh);
  await conversation.hears('a pong', (command) => Object.keys(command).length === 0, 'client');
}

async function converseByPlainSockets(conversation) {
  for (const [channel, query] of [['bare', ''], ['raw', `?token=${tokenOf({ sub: 'anna', exp: soon(60) })}`]]) {
    const socket = await conversation.socket(channel, query);
    for (const payload of [{ a: [1] }, 'text', 2.5, null]) {
      const echo = new Promise((resolve) => socket.once('message', resolve));
      socket.send(JSON.stringify(payload));
      await echo;
    }
  }
  await conversation.socket('raw', `?token=${tokenOf({ sub: 'anna', exp: soon(3) })}`);
  await conversation.closes('raw', 1001);
  const large = JSON.stringify('x'.repeat(70_000));
  (await conversation.socket('raw')).send(large);
  await conversation.closes('raw', 1009);

  const connected = async () => {
    const socket = await conversation.socket('centrifuge');
    const answer = new Promise((resolve) => socket.once('message', resolve));
    socket.send('{"id":1,"connect":{}}');
    await answer;
    return socket;
  };
  (await connected()).send('{"send":{"data":1}}');
  await conversation.closes('centrifuge', 3508);
  (await connected()).send(`{"id":2,"publish":{"channel":"room","data":${large}}}`);
  await conversation.closes('centrifuge', 3501);
}

async function converseByDifferences(conversation) {
  const client = await conversation.client();
  const prices = await conversation.subscribed(client, 'prices', { delta: 'fossil' });
  const heard = [];
  prices.on('publication', ({ data }) => heard.push(data));
  const price = (of) => ({ of: 'tea, and more of it, so that a difference is worth sending', price: of });
  for (const of of [3, 4, 5]) {
    await prices.publish(price(of));
    await until('a publication', () => heard.some((data) => data.price === of));
  }
  assert.deepEqual(heard, [3, 4, 5].map(price));
  await conversation.hears('a difference', ({ push }) => push?.channel === 'prices' && push.pub?.delta);
}

async function converseByAnswers(conversation) {
  const { url } = conversation.http;
  for (const [channel, transport] of [['httpStream', 'http_stream'], ['sse', 'sse']]) {
    const emulated = { emulationEndpoint: `${url}/emulation`, fetch, readableStream: ReadableStream, eventsource: EventSource };
    const client = await conversation.client(
      { ...emulated, token: tokenOf({ sub: 'carl', exp: soon(60), channels: ['news'] }) },
      [{ transport, endpoint: `${url}/connection/${transport}` }],
    );
    const room = await conversation.subscribed(client, `${transport}-room`, { joinLeave: true });
    await room.publish({ by: transport });
    await conversation.hears('a publication', ({ push }) => push?.pub?.data.by === transport, 'server', channel);
    await room.presence();
    await assert.rejects(client.publish('elsewhere', 1), { code: 103 });
    await conversation.hears('a ping', (reply) => Object.keys(reply).length === 0, 'server', channel);
    await conversation.hears('a pong', ({ data }) => data === '{}', 'client', 'emulation');
    room.unsubscribe();
    await conversation.hears('the end of it', ({ unsubscribe }) => unsubscribe, 'server', channel);
  }
}

// Every status of /emulation that a single process has in development mode.
async function converseByMistakes(conversation) {
  const say = (body, options) => fetch(`${conversation.http.url}/emulation`, { method: 'POST', body, ...options });
  const nobody = JSON.stringify({ session: crypto.randomUUID(), node: crypto.randomUUID(), data: '{}' });
  for (const [status, body, options] of [[400, '{'], [404, nobody], [405, undefined, { method: 'GET' }], [413, 'x'.repeat(70_000)]]) {
    const answer = await say(body, options);
    assert.equal(answer.status, status);
    assert.equal(await answer.text(), '');
  }
}

async function converseByHearing(conversation) {
  const { url } = conversation.http;
  const who = JSON.stringify({ token: tokenOf({ sub: 'dora', exp: soon(60), channels: ['daily'] }), name: 'test' });
  const query = `?cf_connect=${encodeURIComponent(who)}`;
  const socket = await conversation.socket('uniWebSocket');
  socket.send(who);
  const { signal } = conversation.endings;
  const open = (address, options) => fetch(`${url}/connection/${address}`, { signal, ...options });
  await open('uni_http_stream', { method: 'POST', body: who });
  await open(`uni_sse${query}`);
  const uni = ['uniWebSocket', 'uniHttpStream', 'uniSse'];
  const all = (what, holds) => Promise.all(uni.map((channel) => conversation.hears(`${what} in ${channel}`, holds, 'server', channel)));
  await all('connect', ({ connect }) => connect?.subs?.daily);
  const anna = await conversation.client();
  const daily = await conversation.subscribed(anna, 'daily');
  await daily.publish('news');
  await all('a publication', ({ channel, pub }) => channel === 'daily' && pub?.data === 'news');
  await all('a ping', (push) => Object.keys(push).length === 0);
  const refused = await open('uni_http_stream', { method: 'POST', body: '{"token":"x"}' });
  assert.deepEqual(JSON.parse(await refused.text()), { disconnect: { code: 3500, reason: 'invalid token' } });
}

/** Holds the conversation with a Fanfare of its own, and gives everything that was said in it. */
async function converse() {
  const fanfare = await startFanfare(settings);
  const at = { bare: '/', raw: '/raw/lobby', centrifuge: '/connection/websocket', uniWebSocket: '/connection/uni_websocket' };
  const taps = {};
  const conversation = new Conversation(taps);
  conversation.http = await startHttpTap(`http://127.0.0.1:${fanfare.port}`);
  try {
    for (const [channel, address] of Object.entries(at)) taps[channel] = await startWiretap(`ws://127.0.0.1:${fanfare.port}${address}`);
    await converseBySdk(conversation);
    await converseByDifferences(conversation);
    await converseByPlainSockets(conversation);
    await converseByAnswers(conversation);
    await converseByMistakes(conversation);
    await converseByHearing(conversation);
    // It leaves, and says so to everybody.
    const left = fanfare.program.end('SIGTERM');
    const isLast = (message) => (message.push ?? message).disconnect?.code === 3001;
    await Promise.all([
      ...[['centrifuge', 3001], ['uniWebSocket', 3001], ['bare', 1001]].map((close) => conversation.closes(...close)),
      ...['httpStream', 'sse', 'uniWebSocket', 'uniHttpStream', 'uniSse'].map((channel) =>
        conversation.hears(`the last word in ${channel}`, isLast, 'server', channel)),
    ]);
    await left;
    return conversation.heard();
  } catch (error) {
    const last = conversation.heard().slice(-10).map(({ channel, from, frame, close, status }) => `${channel}, ${from}: ${close ?? status ?? frame.subarray(0, 300)}`);
    throw new Error(`${error.message}; last was heard:\n${last.join('\n')}`, { cause: error });
  } finally {
    for (const client of conversation.clients) client.disconnect();
    for (const socket of conversation.sockets) socket.terminate();
    conversation.endings.abort();
    for (const tap of [...Object.values(taps), conversation.http]) await tap.stop();
    await fanfare.stop();
  }
}

module.exports = { converse };
