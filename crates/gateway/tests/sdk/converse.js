'use strict';
// One conversation with a Fanfare that is started for it in development mode: clients of the SDK, plain sockets, and its end.
//
// Gives every frame that was heard, as it was. Waits for what is to be heard, never for time to pass; says what it waited for in vain.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const { Centrifuge } = require('centrifuge');
const { WebSocket } = require('ws');
const { startFanfare, toml } = require('./fanfare.js');
const { until } = require('./processes.js');
const { startWiretap } = require('./wiretap.js');
const wire = require('./wire.js');

const secret = 'a secret that is long enough for anybody';
const patience = 15_000;

const settings = `dev = true\n\n${toml({
  listener: { address: '127.0.0.1', port: 0 },
  admin: { address: '127.0.0.1:0' },
  tokens: { hmac_secret: secret },
  centrifuge: { ping_interval: '2s', pong_timeout: '1900ms' },
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

class Conversation {
  constructor(taps) {
    this.taps = taps;
    this.clients = [];
    this.sockets = [];
  }

  /** Every frame so far: `{ channel, from, frame }` or `{ channel, from, close }`. */
  heard() {
    return Object.entries(this.taps).flatMap(([channel, tap]) =>
      tap.connections.flatMap(({ heard }) => heard.map((one) => ({ channel, ...one }))));
  }

  /** Waits until somebody has said a message of the Centrifuge protocol of which this holds. */
  hears(what, holds, from = 'server') {
    const messages = () => this.heard()
      .filter((one) => one.channel === 'centrifuge' && one.frame && one.from === from)
      .flatMap(({ frame }) => wire.decode('json', frame));
    return until(what, () => messages().find(holds));
  }

  closes(channel, code) {
    return until(`a close of ${channel} with ${code}`, () =>
      this.heard().find((one) => one.channel === channel && one.from === 'server' && one.close?.[0] === code));
  }

  async client(options) {
    const client = new Centrifuge(this.taps.centrifuge.url, { websocket: WebSocket, ...options });
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

/** Holds the conversation with a Fanfare of its own, and gives everything that was said in it. */
async function converse() {
  const fanfare = await startFanfare(settings);
  const at = { bare: '/', raw: '/raw/lobby', centrifuge: '/connection/websocket' };
  const taps = {};
  const conversation = new Conversation(taps);
  try {
    for (const [channel, address] of Object.entries(at)) taps[channel] = await startWiretap(`ws://127.0.0.1:${fanfare.port}${address}`);
    await converseBySdk(conversation);
    await converseByPlainSockets(conversation);
    // It leaves, and says so to everybody.
    const left = fanfare.program.end('SIGTERM');
    await Promise.all([conversation.closes('centrifuge', 3001), conversation.closes('bare', 1001)]);
    await left;
    return conversation.heard();
  } catch (error) {
    const last = conversation.heard().slice(-10).map(({ channel, from, frame, close }) => `${channel}, ${from}: ${close ?? frame.subarray(0, 300)}`);
    throw new Error(`${error.message}; last was heard:\n${last.join('\n')}`, { cause: error });
  } finally {
    for (const client of conversation.clients) client.disconnect();
    for (const socket of conversation.sockets) socket.terminate();
    for (const tap of Object.values(taps)) await tap.stop();
    await fanfare.stop();
  }
}

module.exports = { converse };
