'use strict';
// What the application's servers ask of one node, and clients on the other get.

const assert = require('node:assert/strict');
const { askingKey } = require('../cluster.js');
const { without, transportOf } = require('../streams.js');

// The node that is asked, and the one that has the client.
const crossings = ({ a, b }) => [[a, b], [b, a]];

const english = { key: 'lang', cmp: 'eq', val: 'en' };

module.exports = {
  async 'what is published through one node is heard on both'(c, { a, b }) {
    const channel = c.channel('open:room');
    const [mine, others] = await c.both({ a, b }, channel);
    await c.asks(a, 'publish', { channel, data: { n: 1 }, tags: { lang: 'en' } });
    await Promise.all([mine.hears(1), others.hears(1)]);
    await c.asks(b, 'publish', { channel, data: { n: 2 } });
    for (const one of [mine, others]) assert.deepEqual(await one.hears(2), [{ n: 1 }, { n: 2 }]);
    assert.deepEqual((await others.seen.sees('publication')).tags, { lang: 'en' });
  },

  async 'a broadcast is heard in every channel of it'(c, cluster) {
    for (const [node, far] of crossings(cluster)) {
      const channels = [1, 2, 3].map((n) => c.channel(`open:${node.name}${n}`));
      const client = await c.connected(far);
      const subscriptions = await Promise.all(channels.map((channel) => c.subscribed(client, channel)));
      const { responses } = await c.asks(node, 'broadcast', { channels: [...channels, c.channel('nowhere:room')], data: 'all' });
      assert.deepEqual(responses.map(({ error }) => error?.code), [undefined, undefined, undefined, 102]);
      for (const one of subscriptions) assert.deepEqual(await one.hears(1), ['all']);
    }
  },

  async 'a key that both nodes are given makes one publication'(c, { a, b }) {
    const channel = c.channel('open:room');
    const [mine, others] = await c.both({ a, b }, channel);
    const once = { channel, data: 'once', idempotency_key: 'order-17' };
    for (const node of [a, b, a]) await c.asks(node, 'publish', once);
    await c.asks(b, 'publish', { channel, data: 'after' });
    for (const one of [mine, others]) assert.deepEqual(await one.hears(2), ['once', 'after']);
  },

  async 'a user is subscribed and unsubscribed wherever it is'(c, cluster) {
    for (const [node, far] of crossings(cluster)) {
      const user = `alice-of-${far.name}`;
      const channel = c.channel('open:room');
      const client = await c.connected(far, { token: c.token(user) });
      await c.asks(node, 'subscribe', { user: c.user(user), channel, data: { welcome: true } });
      const subscribed = await client.seen.sees('subscribed');
      assert.deepEqual([subscribed.channel, c.value(subscribed.data)], [channel, { welcome: true }]);
      await c.asks(node, 'publish', { channel, data: 'hello' });
      assert.equal(c.value((await client.seen.sees('publication')).data), 'hello');
      await c.asks(node, 'unsubscribe', { user: c.user(user), channel });
      assert.equal((await client.seen.sees('unsubscribed')).channel, channel);
    }
  },

  async 'a subscription of the client is ended with the code of an unsubscribe'(c, cluster) {
    for (const [node, far] of crossings(cluster)) {
      const user = `bob-of-${far.name}`;
      const subscription = await c.subscribed(await c.connected(far, { token: c.token(user) }), c.channel('open:room'));
      await c.asks(node, 'unsubscribe', { user: c.user(user), channel: c.channel('open:room') });
      assert.equal((await subscription.seen.sees('unsubscribed')).code, 2000);
    }
  },

  async 'a disconnect says its code, and by that the SDK comes back or not'(c, cluster) {
    for (const [node, far] of crossings(cluster)) {
      const [gone, back] = [`gone-of-${far.name}`, `back-of-${far.name}`];
      const [first, second] = await Promise.all([gone, back].map((user) => c.connected(far, { token: c.token(user) })));
      await c.asks(node, 'disconnect', { user: c.user(gone), disconnect: { code: 4501, reason: 'banned' } });
      await c.asks(node, 'disconnect', { user: c.user(back), disconnect: { code: 4001, reason: 'come again' } });
      const { code, reason } = await first.seen.sees('disconnected');
      assert.deepEqual([code, reason], [4501, 'banned']);
      assert.equal((await second.seen.sees('connecting', 2)).code, 4001);
      await second.seen.sees('connected', 2);
    }
  },

  async 'a disconnect spares those on its list'(c, { a, b }) {
    const [stays, goes] = await Promise.all([c.connected(a, { token: c.token('alice') }), c.connected(b, { token: c.token('alice') })]);
    const { client } = await stays.seen.sees('connected');
    await c.asks(a, 'disconnect', { user: c.user('alice'), whitelist: [client] });
    assert.equal((await goes.seen.sees('disconnected')).code, 3503);
    await c.subscribed(stays, c.channel('open:room'));
  },

  async 'a refresh that is over closes with 3005, and the SDK comes back with a token'(c, cluster) {
    for (const [node, far] of crossings(cluster)) {
      const user = `late-of-${far.name}`;
      const client = await c.connected(far, { token: c.token(user), getToken: async () => c.token(user) });
      await c.asks(node, 'refresh', { user: c.user(user), expired: true });
      assert.equal((await client.seen.sees('connecting', 2)).code, 3005);
      await client.seen.sees('connected', 2);
    }
  },

  async 'both nodes tell who is there, and each other'(c, { a, b }) {
    const channel = c.channel('room:main');
    await Promise.all([a, b].map(async (node) => c.subscribed(await c.connected(node, { token: c.token(`at-${node.name}`) }), channel)));
    const expected = [c.user('at-a'), c.user('at-b')];
    for (const node of [a, b]) {
      const users = async () => Object.values((await c.asks(node, 'presence', { channel })).presence).map(({ user }) => user).sort();
      await c.eventually('both are present', async () => (await users()).length === 2);
      assert.deepEqual(await users(), expected);
      assert.deepEqual(await c.asks(node, 'presence_stats', { channel }), { num_clients: 2, num_users: 2 });
      const { channels } = await c.asks(node, 'channels', { pattern: channel });
      assert.deepEqual(channels, { [channel]: { num_clients: 2 } });
      const { nodes } = await c.asks(node, 'info', {});
      assert.deepEqual(nodes.map(({ name }) => name).sort(), ['a', 'b']);
    }
  },

  async 'a batch is made in order, and one that fails stops no other'(c, { a, b }) {
    const channel = c.channel('open:room');
    const subscription = await c.subscribed(await c.connected(b), channel);
    const publish = (n) => ({ publish: { channel, data: n } });
    const replies = await c.batch(a, [publish(1), { publish: { channel: c.channel('nowhere:room'), data: 0 } }, publish(2), publish(3)]);
    assert.deepEqual(replies.map((reply) => reply.error?.code ?? Object.keys(reply)[0]), ['publish', 102, 'publish', 'publish']);
    assert.deepEqual(await subscription.hears(3), [1, 2, 3]);
  },

  async 'a key that is none, or not for the call, changes nothing'(c, { a, b }) {
    const channel = c.channel('open:room');
    const subscription = await c.subscribed(await c.connected(b), channel);
    const publication = { channel, data: 'no' };
    assert.equal((await c.request(a, 'publish', publication, 'another key')).status, 401);
    assert.equal((await c.request(a, 'publish', publication, askingKey)).status, 403);
    assert.equal((await c.request(a, 'batch', { commands: [{ info: {} }, { publish: publication }] }, askingKey)).status, 403);
    assert.equal((await c.request(a, 'info', {}, askingKey)).status, 200);
    await c.asks(a, 'publish', { channel, data: 'yes' });
    assert.deepEqual(await subscription.hears(1), ['yes']);
  },

  async 'a token that is revoked ends its client, lets it in nowhere, and a new one brings it back'(c, cluster) {
    for (const [node, far] of crossings(cluster)) {
      const uid = c.user(`token-of-${far.name}`);
      const [token, another] = [c.token('carol', 60, { jti: uid }), c.token('carol', 60, { jti: `${uid}-2` })];
      const [stubborn, wiser, spared] = await Promise.all([{ token }, { token, getToken: async () => another }, { token: another }].map((options) => c.connected(far, options)));
      await c.asks(node, 'revoke_token', { uid });
      for (const client of [stubborn, wiser]) assert.equal((await client.seen.sees('connecting', 2)).code, 3014);
      assert.equal((await stubborn.seen.sees('disconnected')).code, 3500);
      await wiser.seen.sees('connected', 2);
      for (const other of [node, far]) {
        const again = c.client(other, { token });
        again.connect();
        assert.equal((await again.seen.sees('disconnected')).code, 3500);
      }
      await c.subscribed(spared, c.channel('open:room'));
      assert.equal(spared.seen.all('connecting').length, 1);
    }
  },

  async 'when the tokens of a user are invalid its clients end on every node'(c, { a, b }) {
    const now = Math.floor(Date.now() / 1000);
    const token = c.token('dave', 60, { iat: now - 10 });
    const clients = await Promise.all([a, b].map((node) => c.connected(node, { token })));
    const others = await c.connected(b, { token: c.token('erin', 60, { iat: now - 10 }) });
    await c.asks(a, 'invalidate_user_tokens', { user: c.user('dave'), issued_before: now - 5 });
    for (const client of clients) {
      assert.equal((await client.seen.sees('connecting', 2)).code, 3014);
      assert.equal((await client.seen.sees('disconnected')).code, 3500);
    }
    await c.connected(b, { token: c.token('dave', 60, { iat: now }) });
    await c.subscribed(others, c.channel('open:room'));
    assert.equal(others.seen.all('connecting').length, 1);
  },

  async 'a filter lets through what fits, and nothing else'(c, cluster) {
    for (const [node, far] of crossings(cluster)) {
      const channel = c.channel(`tagged:${far.name}`);
      const chosen = await c.subscribed(await c.connected(far), channel, { tagsFilter: english });
      const all = await c.subscribed(await c.connected(far), channel);
      for (const [data, tags] of [[1, { lang: 'de' }], [2, { lang: 'en' }], [3, undefined], [4, { lang: 'en', more: 'x' }]]) await c.asks(node, 'publish', { channel, data, tags });
      assert.deepEqual(await all.hears(4), [1, 2, 3, 4]);
      assert.deepEqual(await chosen.hears(2), [2, 4]);
    }
  },

  async 'an order reaches a client behind a stream, and a publication too'(c, cluster) {
    for (const [node, far] of crossings(cluster)) {
      const user = `stream-of-${far.name}`;
      const channel = c.channel('open:room');
      const client = await c.connected(null, { ...without(transportOf(c), far, node), token: c.token(user) });
      await c.asks(node, 'subscribe', { user: c.user(user), channel });
      assert.equal((await client.seen.sees('subscribed')).channel, channel);
      await c.asks(node, 'publish', { channel, data: 'hello' });
      assert.equal(c.value((await client.seen.sees('publication')).data), 'hello');
      await c.asks(node, 'unsubscribe', { user: c.user(user), channel });
      await client.seen.sees('unsubscribed');
      await c.asks(node, 'disconnect', { user: c.user(user), disconnect: { code: 4501, reason: 'banned' } });
      const { code, reason } = await client.seen.sees('disconnected');
      assert.deepEqual([code, reason], [4501, 'banned']);
    }
  },
};
