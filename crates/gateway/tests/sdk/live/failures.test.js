'use strict';
// What clients notice when a node is killed or leaves, and when Redis goes away and comes back: each on a cluster of its own.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { until } = require('../processes.js');
const { Case } = require('./people.js');
const { startCluster } = require('./cluster.js');

// Which node a connection behind HAProxy is on, by how many connections each has.
async function connections(node) {
  const text = await fetch(`${node.admin}/metrics`).then((response) => response.text());
  return Number(/^fanfare_connections(?:\{[^}]*\})? (\d+)/m.exec(text)?.[1] ?? NaN);
}

// Clients behind HAProxy, so many on the node that will go, and one on the other; all in one channel.
async function crowd(c, cluster) {
  const url = await cluster.balance();
  const channel = c.channel('open:room');
  const stays = await c.subscribed(await c.connected(cluster.b, { name: 'stays' }), channel);
  const clients = await Promise.all(Array.from({ length: 6 }, (_, n) => c.connected(url, { name: `client ${n}` })));
  const all = await Promise.all(clients.map((client) => c.subscribed(client, channel)));
  assert.ok((await connections(cluster.a)) > 0, 'nobody is on the node that goes');
  return { stays, all, clients };
}

// Waits until a node has every connection, and those that had to subscribe again have.
async function allAreOn(node, all) {
  await until('all are on one node', async () => (await connections(node)) === all.length + 1);
  await Promise.all(all.map(({ seen }) => seen.until('to be subscribed', () => seen.all('subscribed').length === seen.all('subscribing').length)));
}

// Says these values, and waits until everybody has heard them: in order, and once.
async function everybodyHears(sender, all, values) {
  const before = all.map((one) => one.heard().length);
  for (const value of values) await sender.say(value);
  for (const [n, one] of all.entries()) {
    await one.hears(before[n] + values.length);
    assert.deepEqual(one.heard().slice(before[n]), values);
  }
}

const moved = (client) => client.seen.all('connecting').length > 1;

const stories = {
  async 'a node is killed: its clients are back on the other, and hear what is published then'(c, cluster) {
    const { stays, all, clients } = await crowd(c, cluster);
    await everybodyHears(stays, all, ['before', 'it']);
    await cluster.a.program.end('SIGKILL');
    await allAreOn(cluster.b, all);
    assert.ok(clients.some(moved));
    await everybodyHears(stays, all, ['after', 'that']);
  },

  async 'a node is told to go: its clients are sent to the other one by one, and the process ends well'(c, cluster) {
    const { stays, all, clients } = await crowd(c, cluster);
    await everybodyHears(stays, all, ['before']);
    await cluster.a.program.end('SIGTERM');
    assert.equal(cluster.a.program.child.exitCode, 0);
    await allAreOn(cluster.b, all);
    const codes = clients.filter(moved).flatMap(({ seen }) => seen.all('connecting').slice(1).map(({ code }) => code));
    assert.ok(codes.length && codes[0] === 3001, codes.join());
    assert.deepEqual(clients.flatMap(({ seen }) => seen.all('disconnected')), []);
    await everybodyHears(stays, all, ['after', 'that']);
  },

  async 'a client that comes back is known by its token, and has its private channel'(c, cluster) {
    const url = await cluster.balance();
    const channel = c.channel('members:day');
    const client = await c.connected(url, { getToken: async () => c.token('alice') });
    const mine = await c.subscribed(client, channel, { getToken: async () => c.ticket('alice', channel) });
    const [home, away] = (await connections(cluster.a)) ? [cluster.a, cluster.b] : [cluster.b, cluster.a];
    await home.program.end('SIGKILL');
    await mine.seen.sees('subscribed', 2);
    const bob = await c.connected(away, { token: c.token('bob') });
    await everybodyHears(await c.subscribed(bob, channel, { token: c.ticket('bob', channel) }), [mine], ['welcome back']);
  },

  async 'Redis is killed and comes back: nobody is disconnected, and everybody hears again'(c, cluster) {
    const [mine, others] = await c.both(cluster, c.channel('open:room'));
    await everybodyHears(mine, [mine, others], ['before']);
    await cluster.killRedis();
    await until('the outage is noticed', async () => (await c.refusal(mine.say('into the void')).catch(() => undefined)) !== undefined);
    await cluster.restartRedis();
    const heard = () => [mine, others].map((one) => one.heard().includes('again'));
    await until('they hear again', async () => {
      await mine.say('again').catch(() => {});
      return heard().every(Boolean);
    });
    for (const one of [mine, others]) {
      const client = one.client;
      assert.deepEqual([client.seen.all('connecting').length, client.seen.all('disconnected').length, one.seen.all('subscribing').length], [1, 0, 1]);
    }
  },

  async 'who subscribes while Redis is away is in when it is back'(c, cluster) {
    const channel = c.channel('open:room');
    const [mine, others] = [await c.connected(cluster.a), await c.connected(cluster.b)];
    await cluster.killRedis();
    const subscriptions = [mine, others].map((client) => c.subscription(client, channel));
    for (const subscription of subscriptions) subscription.subscribe();
    await cluster.restartRedis();
    await Promise.all(subscriptions.map(({ seen }) => seen.sees('subscribed')));
    await until('they hear each other', async () => {
      await subscriptions[0].say('hello').catch(() => {});
      return subscriptions.every((one) => one.heard().length);
    });
  },
};

test('failures', { concurrency: 3 }, async (t) => {
  const played = Object.entries(stories).flatMap(([name, story]) =>
    ['json', 'protobuf'].map((encoding) =>
      t.test(`${name}, ${encoding}`, async () => {
        const [one, cluster] = [new Case(encoding), await startCluster()];
        try {
          await story(one, cluster);
        } finally {
          one.close();
          await cluster.stop();
        }
      }),
    ),
  );
  await Promise.all(played);
});
