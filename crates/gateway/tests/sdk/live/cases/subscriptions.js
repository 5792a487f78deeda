'use strict';
// Who is let into which channel, by a rule or a token, and by the server alone.

const assert = require('node:assert/strict');
const { until } = require('../../processes.js');

// The code that a subscription is refused with.
async function refusedWith(c, client, channel, options) {
  const subscription = c.subscription(client, channel, options);
  subscription.subscribe();
  return (await subscription.seen.sees('unsubscribed')).code;
}

module.exports = {
  async 'a channel without a rule is unknown, a closed one refused'(c, { a, b }) {
    const client = await c.connected(a, { token: c.token('alice') });
    assert.equal(await refusedWith(c, client, c.channel('nowhere:day')), 102);
    assert.equal(await refusedWith(c, client, c.channel('nobody:day')), 103);
    assert.equal(await refusedWith(c, client, c.channel('members:day')), 103);
    assert.equal(await refusedWith(c, await c.connected(b), c.channel('$private:day')), 103);
  },

  async 'a token for the channel opens it, on either node'(c, { a, b }) {
    const channel = c.channel('members:day');
    const [alice, bob] = await Promise.all([c.connected(a, { token: c.token('alice') }), c.connected(b, { token: c.token('bob') })]);
    const alices = await c.subscribed(alice, channel, { token: c.ticket('alice', channel) });
    const bobs = await c.subscribed(bob, channel, { getToken: async () => c.ticket('bob', channel) });
    await bobs.say('hello');
    assert.deepEqual(await alices.hears(1), ['hello']);
  },

  async 'a private channel is opened by a token, with its data'(c, { a }) {
    const channel = c.channel('$private:day');
    const client = await c.connected(a, { token: c.token('alice') });
    const subscription = await c.subscribed(client, channel, { token: c.ticket('alice', channel, 60, { data: { topic: 'x' } }) });
    assert.deepEqual(c.value((await subscription.seen.sees('subscribed')).data), { topic: 'x' });
  },

  async 'a token for another channel, or of another user, ends the connection'(c, { a, b }) {
    const channel = c.channel('members:day');
    for (const [node, token] of [[a, c.ticket('alice', c.channel('members:night'))], [b, c.ticket('bob', channel)]]) {
      const client = await c.connected(node, { token: c.token('alice') });
      c.subscription(client, channel, { token }).subscribe();
      assert.equal((await client.seen.sees('disconnected')).code, 3500);
    }
  },

  async 'an expired token for the channel is replaced'(c, { b }) {
    const channel = c.channel('members:day');
    const client = await c.connected(b, { token: c.token('alice') });
    await c.subscribed(client, channel, { token: c.ticket('alice', channel, -10), getToken: async () => c.ticket('alice', channel) });
  },

  async 'a token for the channel that runs out is replaced in time, and the subscription stays'(c, { a }) {
    const channel = c.channel('members:day');
    const client = await c.connected(a, { token: c.token('alice') });
    let fetched = 0;
    const getToken = async () => {
      fetched += 1;
      client.seen.add('fetched', fetched);
      return c.ticket('alice', channel, 2);
    };
    const subscription = await c.subscribed(client, channel, { token: c.ticket('alice', channel, 2), getToken });
    await client.seen.sees('fetched', 2);
    assert.deepEqual(subscription.seen.all('subscribing').map(({ code }) => code), [0]);
  },

  async 'a subscription whose token is not replaced is ended, and made again with another'(c, { b }) {
    const channel = c.channel('members:day');
    const client = await c.connected(b, { token: c.token('alice') });
    const lifetimes = [-5, 600];
    const isBack = () => subscription.seen.all('subscribing').length > 1;
    const getToken = () => (isBack() ? c.ticket('alice', channel, lifetimes.shift()) : new Promise(() => {}));
    const subscription = c.subscription(client, channel, { token: c.ticket('alice', channel, 2), getToken });
    subscription.subscribe();
    assert.equal((await subscription.seen.sees('subscribing', 2)).code, 2501);
    await subscription.seen.sees('subscribed', 2);
    assert.deepEqual(client.seen.all('connecting').map(({ code }) => code), [0]);
  },

  async 'a channel with users in its name is for them'(c, { a, b }) {
    const channel = `dialog:x#${c.user('alice')},${c.user('bob')}`;
    const [alice, bob, carol] = await Promise.all([c.connected(a, { token: c.token('alice') }), c.connected(b, { token: c.token('bob') }), c.connected(b, { token: c.token('carol') })]);
    const alices = await c.subscribed(alice, channel);
    const bobs = await c.subscribed(bob, channel);
    assert.equal(await refusedWith(c, carol, channel), 103);
    await bobs.say('between us');
    assert.deepEqual(await alices.hears(1), ['between us']);
  },

  async 'who has left hears nothing, and who returns hears again'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('open:room'));
    await others.say(1);
    await mine.hears(1);
    mine.unsubscribe();
    await mine.seen.sees('unsubscribed');
    await others.say(2);
    await others.hears(2);
    mine.subscribe();
    await mine.seen.sees('subscribed', 2);
    await others.say(3);
    assert.deepEqual(await mine.hears(2), [1, 3]);
  },

  async 'one connection of a user leaves, the other stays'(c, { a, b }) {
    const channel = c.channel('open:room');
    const [mine, others] = await c.both({ a, b }, channel, { token: c.token('alice') });
    const third = await c.subscribed(await c.connected(a, { token: c.token('alice') }), channel);
    third.unsubscribe();
    await third.seen.sees('unsubscribed');
    await others.say('you two');
    assert.deepEqual([await mine.hears(1), third.heard()], [['you two'], []]);
  },

  async 'a token subscribes its connection to channels'(c, { a, b }) {
    const channels = [c.channel('free:one'), c.channel('free:two')];
    const client = await c.connected(a, { token: c.token('alice', 60, { channels }) });
    await client.seen.sees('subscribed', 2);
    const publisher = await c.connected(b);
    for (const [n, channel] of channels.entries()) {
      await publisher.publish(channel, c.data(publisher, n));
      const publication = await client.seen.sees('publication', n + 1);
      assert.deepEqual([publication.channel, c.value(publication.data)], [channel, n]);
    }
  },

  async 'a token subscribes with data, and others see what it says of the seat'(c, { a, b }) {
    const channel = c.channel('room:x');
    const watcher = await c.subscribed(await c.connected(b), channel, { joinLeave: true });
    await watcher.seen.sees('join');
    const subs = { [channel]: { data: { topic: 'x' }, info: { seat: 4 } } };
    const client = await c.connected(a, { token: c.token('alice', 60, { subs, info: { name: 'Alice' } }) });
    assert.deepEqual(c.value((await client.seen.sees('subscribed')).data), { topic: 'x' });
    const { info } = await watcher.seen.sees('join', 2);
    assert.deepEqual([info.user, c.value(info.connInfo), c.value(info.chanInfo)], [c.user('alice'), { name: 'Alice' }, { seat: 4 }]);
  },

  async 'a channel that a new token no longer grants is gone after connecting again'(c, { a, b }) {
    const channel = c.channel('free:one');
    const client = await c.connected(a, { token: c.token('alice', 60, { channels: [channel] }) });
    await client.seen.sees('subscribed');
    client.disconnect();
    await client.seen.sees('disconnected');
    client.setToken(c.token('alice'));
    client.connect();
    await client.seen.sees('unsubscribed');
    const publisher = await c.subscribed(await c.connected(b), channel);
    await publisher.say('unheard');
    await publisher.hears(1);
    assert.deepEqual(client.seen.all('publication'), []);
  },

  async 'a channel without a rule in a token refuses the connection'(c, { b }) {
    const client = c.client(b, { token: c.token('alice', 60, { channels: [c.channel('nowhere:x')] }) });
    client.connect();
    assert.equal((await client.seen.sees('disconnected')).code, 102);
  },

  async 'who comes and goes is told on the other node'(c, { a, b }) {
    const channel = c.channel('room:x');
    const watcher = await c.subscribed(await c.connected(a), channel, { joinLeave: true });
    await watcher.seen.sees('join');
    const bob = await c.connected(b, { token: c.token('bob') });
    const bobs = await c.subscribed(bob, channel);
    assert.equal((await watcher.seen.sees('join', 2)).info.user, c.user('bob'));
    bobs.unsubscribe();
    assert.equal((await watcher.seen.sees('leave')).info.user, c.user('bob'));
    assert.deepEqual([bobs.seen.all('join'), bobs.seen.all('leave')], [[], []]);
  },

  async 'who is there is known on both nodes'(c, { a, b }) {
    const channel = c.channel('room:x');
    const alice = await c.connected(a, { token: c.token('alice', 60, { info: { name: 'Alice' } }) });
    const bobs = await Promise.all([a, b].map(async (node) => c.subscribed(await c.connected(node, { token: c.token('bob') }), channel)));
    const alices = await c.subscribed(alice, channel);
    for (const one of [alices, ...bobs]) {
      // Another node is told when the presence there has been written, which is a little after the answer to the subscription.
      await until('all are known', async () => (await one.presenceStats()).numClients === 3);
      const { clients } = await one.presence();
      assert.deepEqual(Object.values(clients).map(({ user }) => user).sort(), [c.user('alice'), c.user('bob'), c.user('bob')]);
      assert.deepEqual(c.value(clients[alice.seen.all('connected')[0].client].connInfo), { name: 'Alice' });
      assert.deepEqual(await one.presenceStats(), { numClients: 3, numUsers: 2 });
    }
    bobs[1].unsubscribe();
    await bobs[1].seen.sees('unsubscribed');
    await until('two are left', async () => (await alices.presenceStats()).numClients === 2);
  },

  async 'who is there is not told to those outside, nor where it is not kept'(c, { a }) {
    const client = await c.connected(a);
    assert.equal(await c.refusal(client.presence(c.channel('room:x'))), 103);
    const subscription = await c.subscribed(client, c.channel('open:x'));
    assert.equal(await c.refusal(subscription.presence()), 108);
  },

  async 'who is cut off has left'(c, { a, b }) {
    const channel = c.channel('lobby:x');
    const watcher = await c.subscribed(await c.connected(a), channel);
    await watcher.seen.sees('join');
    const bob = await c.connected(b, { token: c.token('bob') });
    await c.subscribed(bob, channel);
    await watcher.seen.sees('join', 2);
    bob.disconnect();
    assert.equal((await watcher.seen.sees('leave')).info.user, c.user('bob'));
  },
};
