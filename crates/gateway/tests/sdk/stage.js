'use strict';
// What a scenario gets to work with: clients of the official SDK and plain sockets, both heard by a wiretap, tokens and the server API.
//
// Owns everything a scenario opens, and closes it. A scenario's channels and users carry the name of the run, so that scenarios cannot
// meet on one server; the recording is without it.

const { spawn } = require('node:child_process');
const crypto = require('node:crypto');
const path = require('node:path');
const readline = require('node:readline');
const { WebSocket } = require('ws');
const { startWiretap } = require('./wiretap.js');
const { recording } = require('./normalise.js');
const { secret, apiKey } = require('./reference.js');
const wire = require('./wire.js');

const sdk = {
  json: require('centrifuge').Centrifuge,
  protobuf: require('centrifuge/build/protobuf').Centrifuge,
};

const patience = 8000;
// Nothing heard for so long counts as: no more is coming.
const quiet = 200;

const clientEvents = ['connecting', 'connected', 'disconnected', 'error', 'message', 'subscribed', 'subscribing', 'unsubscribed', 'publication', 'join', 'leave'];
const subscriptionEvents = ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error'];

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

class Stage {
  constructor(encoding, server) {
    this.encoding = encoding;
    this.server = server;
    this.run = `-${crypto.randomBytes(4).toString('hex')}`;
    this.seen = [];
    this.open = [];
  }

  async prepare() {
    this.tap = await startWiretap(this.server.ws);
  }

  // --- names and tokens

  channel(name) {
    return name + this.run;
  }

  user(name) {
    return name + this.run;
  }

  sign(claims, key = secret, header = { alg: 'HS256', typ: 'JWT' }) {
    const body = `${base64url(header)}.${base64url(claims)}`;
    return `${body}.${crypto.createHmac('sha256', key).update(body).digest('base64url')}`;
  }

  now() {
    return Math.floor(Date.now() / 1000);
  }

  token(user, claims = {}, key) {
    return this.sign({ sub: user, exp: this.now() + 3600, ...claims }, key);
  }

  subscriptionToken(user, channel, claims = {}, key) {
    return this.sign({ sub: user, channel, exp: this.now() + 3600, ...claims }, key);
  }

  // --- what is to be in the recording besides the wire

  saw(what, value) {
    this.seen.push([what, value]);
  }

  /** Waits until something with this name has been seen `times` times. */
  async sees(what, times = 1) {
    await this.until(`${what}, ${times} times`, () => this.seen.filter(([name]) => name === what).length >= times);
  }

  async until(what, holds) {
    const deadline = Date.now() + patience;
    while (!holds()) {
      if (Date.now() > deadline) throw new Error(`waited in vain for ${what}; seen: ${JSON.stringify(this.seen)}`);
      await pause(5);
    }
  }

  /**
   * Waits until nobody has said anything for a while. Counts pauses instead of looking at the clock: after a pause that was too long because
   * this process was busy, there may be something to read first.
   */
  async calm(ms = quiet) {
    const deadline = Date.now() + patience;
    let heard = this.tap.heardInAll;
    for (let still = 0; still < ms / 10 && Date.now() < deadline; still += 1) {
      await pause(10);
      if (this.tap.heardInAll !== heard) still = -1;
      heard = this.tap.heardInAll;
    }
  }

  /** Waits until the first client has answered a ping, after its connect and the answer to that. */
  async answersAPing() {
    await this.until('a pong', () => this.tap.connections[0].heard.length >= 4);
  }

  // --- clients

  data(value) {
    return this.encoding === 'json' ? value : Buffer.from(JSON.stringify(value));
  }

  /** A client of the SDK that has not connected yet; what it tells the application is in the recording under its name. */
  client(name = 'client', options = {}) {
    const client = new sdk[this.encoding](this.tap.url, { websocket: WebSocket, minReconnectDelay: 20, maxReconnectDelay: 40, ...options });
    this.open.push(() => client.disconnect());
    for (const event of clientEvents) client.on(event, (context) => this.saw(`${name} ${event}`, context));
    return client;
  }

  async connected(name = 'client', options = {}) {
    const client = this.client(name, options);
    client.connect();
    await this.sees(`${name} connected`);
    return client;
  }

  subscription(client, channel, options = {}, name = 'subscription') {
    const subscription = client.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 40, ...options });
    for (const event of subscriptionEvents) subscription.on(event, (context) => this.saw(`${name} ${event}`, context));
    return subscription;
  }

  async subscribed(client, channel, options = {}, name = 'subscription') {
    const subscription = this.subscription(client, channel, options, name);
    subscription.subscribe();
    await this.sees(`${name} subscribed`);
    return subscription;
  }

  /** The result of a promise, or what it was rejected with, in the recording. */
  async outcome(what, promise) {
    try {
      const result = await promise;
      this.saw(what, result);
      return result;
    } catch (error) {
      this.saw(`${what} failed`, { code: error.code, message: error.message, temporary: error.temporary });
      return undefined;
    }
  }

  /** A plain socket, for what no SDK would say. */
  async socket(options = {}) {
    const { query = '', subprotocols = this.encoding === 'json' ? [] : ['centrifuge-protobuf'], origin } = options;
    const socket = new WebSocket(this.tap.url + query, subprotocols, { perMessageDeflate: false, ...(origin ? { origin } : {}) });
    const plain = {
      received: 0,
      closed: new Promise((resolve) => socket.once('close', resolve)),
      say: (...commands) => socket.send(wire.encode(options.encoding ?? this.encoding, commands)),
      send: (frame) => socket.send(frame),
      close: (...codeAndReason) => socket.close(...codeAndReason),
      hears: (count) => this.until(`${count} messages on a plain socket`, () => plain.received >= count),
    };
    socket.on('message', (frame) => {
      plain.received += wire.decode(options.encoding ?? this.encoding, frame, wire.reply).length;
    });
    socket.on('error', () => {});
    this.open.push(() => socket.terminate());
    await new Promise((resolve) => {
      socket.once('open', resolve);
      socket.once('close', resolve);
    });
    return plain;
  }

  /** A plain socket that is connected, by a command with id 1. */
  async connectedSocket(options = {}) {
    const socket = await this.socket(options);
    socket.say({ id: 1, connect: options.connect ?? {} });
    await socket.hears(1);
    return socket;
  }

  /** Plays a story of python/drive.py, by the interpreter in the environment variable PYTHON. */
  async python(story, given) {
    const driver = spawn(process.env.PYTHON, [path.join(__dirname, 'python', 'drive.py'), story], { stdio: ['pipe', 'pipe', 'pipe'] });
    let errors = '';
    driver.stderr.on('data', (data) => (errors += data));
    const ended = new Promise((resolve) => driver.once('exit', resolve));
    this.open.push(() => driver.kill('SIGKILL'));
    const tell = (value) => driver.stdin.write(`${JSON.stringify(value)}\n`);
    driver.stdin.on('error', () => {});
    tell({ url: this.tap.url, protobuf: this.encoding === 'protobuf', ...given });
    for await (const line of readline.createInterface({ input: driver.stdout })) {
      const [kind, what, value] = JSON.parse(line);
      if (kind === 'done') return;
      if (kind === 'saw') this.saw(what, value);
      else tell((await { calm: () => this.calm(), pong: () => this.answersAPing(), api: () => this.api(what, value) }[kind]()) ?? null);
    }
    throw new Error(`${story} ended with status ${await ended}: ${errors.trim().split('\n').pop()}`);
  }

  // --- the server API

  async api(method, body) {
    const response = await fetch(`${this.server.api}/${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': apiKey },
      body: JSON.stringify(body),
    });
    const answer = response.headers.get('content-type')?.includes('json') ? await response.json() : { status: response.status };
    this.saw(`api ${method}`, answer);
    return answer;
  }

  async close() {
    for (const close of this.open.reverse()) close();
    await this.tap.stop();
  }
}

/**
 * Plays one scenario in one encoding against a server, `{ ws, api }`, and gives its recording. A story that waits in vain fails with an
 * error that has what was said until then as its `recording`.
 */
async function play(scenario, encoding, server) {
  const stage = new Stage(encoding, server);
  await stage.prepare();
  const said = () => {
    stage.tap.hearing = false;
    return recording(scenario, encoding, stage.run, stage.tap.connections, stage.seen);
  };
  try {
    await scenario.story(stage);
    await stage.calm();
    return said();
  } catch (error) {
    throw Object.assign(error, { recording: said() });
  } finally {
    await stage.close();
  }
}

module.exports = { play, pause };
