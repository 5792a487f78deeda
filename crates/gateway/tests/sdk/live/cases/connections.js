'use strict';
// Who connects, with which token, and for how long.

const assert = require('node:assert/strict');
const { until } = require('../../processes.js');
const { pause } = require('../people.js');

module.exports = {
  async 'nobody connects, and is named differently on each node'(c, { a, b }) {
    const ids = await Promise.all([a, b].map(async (node) => (await (await c.connected(node)).seen.sees('connected')).client));
    assert.notEqual(ids[0], ids[1]);
  },

  async 'a token connects on both nodes'(c, { a, b }) {
    const token = c.token('alice');
    await Promise.all([c.connected(a, { token }), c.connected(b, { token })]);
  },

  async 'a token is fetched when there is none'(c, { a }) {
    await c.connected(a, { getToken: async () => c.token('alice') });
  },

  async 'a token of another key ends it'(c, { b }) {
    const client = c.client(b, { token: c.token('alice', 60, {}, 'another key') });
    client.connect();
    assert.equal((await client.seen.sees('disconnected')).code, 3500);
  },

  async 'an expired token ends it when there is no other'(c, { a }) {
    const client = c.client(a, { token: c.token('alice', -10) });
    client.connect();
    assert.equal((await client.seen.sees('disconnected')).code, 1);
  },

  async 'an expired token is replaced'(c, { b }) {
    const fetched = [];
    await c.connected(b, { token: c.token('alice', -10), getToken: async () => (fetched.push(1), c.token('alice')) });
    assert.equal(fetched.length, 1);
  },

  async 'a token that runs out is replaced in time, and the connection stays'(c, { a, b }) {
    let fetched = 0;
    const client = await c.connected(a, { token: c.token('alice', 2), getToken: async () => (fetched++, c.token('alice', 2)) });
    const mine = await c.subscribed(client, c.channel('open:room'));
    await until('there have been two new tokens', () => fetched >= 2);
    const others = await c.subscribed(await c.connected(b), c.channel('open:room'));
    await others.say('still there?');
    assert.deepEqual(await mine.hears(1), ['still there?']);
    assert.deepEqual(client.seen.all('connecting').map(({ code }) => code), [0]);
  },

  async 'a connection whose token is not replaced is closed, and connects again with another'(c, { b }) {
    const isBack = () => client.seen.all('connecting').length > 1;
    const client = c.client(b, { token: c.token('alice', 2), getToken: () => (isBack() ? c.token('alice') : new Promise(() => {})) });
    client.connect();
    const connecting = await client.seen.sees('connecting', 2);
    assert.equal(connecting.code, 3005);
    await client.seen.sees('connected', 2);
  },

  async 'a new token of another user ends it'(c, { a }) {
    const client = await c.connected(a, { token: c.token('alice', 2), getToken: async () => c.token('mallory') });
    assert.equal((await client.seen.sees('disconnected')).code, 3500);
  },

  async 'an application that has no new token ends it'(c, { a }) {
    const client = await c.connected(a, { token: c.token('alice', 2), getToken: async () => '' });
    assert.equal((await client.seen.sees('disconnected')).code, 1);
  },

  async 'a silent connection lives on by pings'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('open:room'));
    // Longer than a ping and the time to answer it.
    await pause(4500);
    await others.say('awake?');
    assert.deepEqual(await mine.hears(1), ['awake?']);
  },

  async 'who disconnects hears nothing, and everything again after connecting to what it had'(c, { a, b }) {
    const channel = c.channel('open:room');
    const [mine, others] = await c.both({ a, b }, channel);
    const client = mine.client;
    client.disconnect();
    await client.seen.sees('disconnected');
    await others.say('unheard');
    await others.hears(1);
    client.connect();
    await mine.seen.sees('subscribed', 2);
    await others.say('heard');
    assert.deepEqual(await mine.hears(1), ['heard']);
  },

  async 'a call to the backend that nobody takes is refused, and the connection stays'(c, { a }) {
    const client = await c.connected(a);
    assert.equal(await c.refusal(client.rpc('nobody:knows', c.data(client, {}))), 108);
    await c.subscribed(client, c.channel('open:room'));
  },
};
