'use strict';
// What a case has at hand: clients of the published SDK on either node, plain sockets, tokens, and names that no other case has.
//
// Owns everything a case opens. Waits are for something that has been seen, with a deadline; what has not come is told with all that has.

const crypto = require('node:crypto');
const { WebSocket } = require('ws');
const { secret, apiKey } = require('../reference.js');

const sdk = {
  json: require('centrifuge').Centrifuge,
  protobuf: require('centrifuge/build/protobuf').Centrifuge,
};

const patience = 15_000;
const clientEvents = ['connecting', 'connected', 'disconnected', 'error', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave'];
const subscriptionEvents = ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error'];

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** What has been seen of one client, subscription or socket, in order. */
class Seen {
  constructor(name) {
    this.name = name;
    this.events = [];
    this.waiting = new Set();
  }

  add(event, value) {
    this.events.push([event, value]);
    for (const look of this.waiting) look();
  }

  all(event) {
    return this.events.filter(([name]) => name === event).map(([, value]) => value);
  }

  /** Waits for the `times`-th of an event, and gives it. */
  async sees(event, times = 1) {
    await this.until(`${event}, ${times} times`, () => this.all(event).length >= times);
    return this.all(event)[times - 1];
  }

  until(what, holds) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(look);
        reject(new Error(`${this.name} waited in vain for ${what}; seen: ${JSON.stringify(this.events)}`));
      }, patience);
      const look = () => {
        if (!holds()) return;
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
      look();
    });
  }
}

/** One case's names, clients and sockets. `encoding` is that of its clients, unless one says another. */
class Case {
  constructor(encoding) {
    this.encoding = encoding;
    this.run = crypto.randomBytes(5).toString('hex');
    this.opened = [];
  }

  channel(name) {
    return `${name}-${this.run}`;
  }

  user(name) {
    return `${name}-${this.run}`;
  }

  // --- tokens

  sign(claims, key = secret) {
    const body = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url(claims)}`;
    return `${body}.${crypto.createHmac('sha256', key).update(body).digest('base64url')}`;
  }

  /** Of a user, for so many seconds. */
  token(name, seconds = 3600, claims = {}, key) {
    return this.sign({ sub: this.user(name), exp: Math.floor(Date.now() / 1000) + seconds, ...claims }, key);
  }

  /** Of a user for a channel. */
  ticket(name, channel, seconds = 3600, claims = {}) {
    return this.token(name, seconds, { channel, ...claims });
  }

  // --- clients

  /** A client of a node, or of an address, that has not connected yet. `seen` has what it is told. */
  client(node, options = {}) {
    const { encoding = this.encoding, name = 'client', transports, ...rest } = options;
    const client = new sdk[encoding](transports ?? node.ws ?? node, { websocket: WebSocket, minReconnectDelay: 50, maxReconnectDelay: 200, ...rest });
    client.encoding = encoding;
    client.seen = new Seen(name);
    for (const event of clientEvents) client.on(event, (context) => client.seen.add(event, context));
    this.opened.push(() => client.disconnect());
    return client;
  }

  async connected(node, options = {}) {
    const client = this.client(node, options);
    client.connect();
    await client.seen.sees('connected');
    return client;
  }

  subscription(client, channel, options = {}) {
    const subscription = client.newSubscription(channel, { minResubscribeDelay: 50, maxResubscribeDelay: 200, ...options });
    subscription.client = client;
    subscription.seen = new Seen(`${client.seen.name} in ${channel}`);
    for (const event of subscriptionEvents) subscription.on(event, (context) => subscription.seen.add(event, context));
    subscription.say = (value) => subscription.publish(this.data(client, value));
    subscription.heard = () => subscription.seen.all('publication').map(({ data }) => this.value(data));
    subscription.hears = async (count) => {
      await subscription.seen.sees('publication', count);
      return subscription.heard();
    };
    return subscription;
  }

  async subscribed(client, channel, options = {}) {
    const subscription = this.subscription(client, channel, options);
    subscription.subscribe();
    await subscription.seen.sees('subscribed');
    return subscription;
  }

  /** A subscription of one client on each node, in that order. */
  async both(cluster, channel, options = {}) {
    const [a, b] = await Promise.all([this.connected(cluster.a, { name: 'a', ...options }), this.connected(cluster.b, { name: 'b', ...options })]);
    return Promise.all([this.subscribed(a, channel), this.subscribed(b, channel)]);
  }

  /** A payload, as the encoding of a client wants it. */
  data(client, value) {
    return client.encoding === 'json' ? value : Buffer.from(JSON.stringify(value));
  }

  value(data) {
    return data instanceof Uint8Array ? JSON.parse(Buffer.from(data).toString('utf8')) : data;
  }

  /** The code that something is refused with. */
  async refusal(promise) {
    const error = await promise.then(
      () => undefined,
      (error) => error,
    );
    if (!error) throw new Error('it was not refused');
    return error.code;
  }

  // --- the server API

  /** The answer to a call of a node's API, whatever it is. */
  request(node, call, body, key = apiKey) {
    return fetch(`${node.api}/${call}`, { method: 'POST', headers: { 'content-type': 'application/json', 'x-api-key': key }, body: JSON.stringify(body) });
  }

  /** The result of a call, which must not be an error. */
  async asks(node, call, body) {
    const answer = await (await this.request(node, call, body)).json();
    if (!answer.result) throw new Error(`${call} ${JSON.stringify(body)} was answered with ${JSON.stringify(answer)}`);
    return answer.result;
  }

  /** The replies to a batch. */
  async batch(node, commands) {
    return (await (await this.request(node, 'batch', { commands })).json()).replies;
  }

  /** Asks again until `holds` resolves to true; what one node knows of another is a little late. */
  async eventually(what, holds) {
    const deadline = Date.now() + patience;
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
      await pause(20);
    }
  }

  /** A plain socket; text it receives is a `message` of its `seen`. */
  async socket(url, subprotocols = []) {
    const socket = new WebSocket(url, subprotocols, { perMessageDeflate: false });
    socket.seen = new Seen('socket');
    socket.on('message', (data) => {
      for (const line of data.toString('utf8').split('\n')) socket.seen.add('message', JSON.parse(line));
    });
    socket.on('close', (code) => socket.seen.add('close', code));
    socket.on('error', (error) => socket.seen.add('error', error.message));
    this.opened.push(() => socket.terminate());
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    return socket;
  }

  close() {
    for (const close of this.opened.reverse()) close();
  }
}

module.exports = { Case, pause };
