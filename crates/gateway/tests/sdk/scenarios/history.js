'use strict';
// What was published before: asked for as history, or made up for after an absence.

const { scenario } = require('../scenarios.js');

async function fill(t, channel, from, to) {
  for (let price = from; price <= to; price += 1) await t.api('publish', { channel, data: { price } });
}

async function topOf(t, channel) {
  return (await t.api('history', { channel })).result;
}

// Subscribes on a plain socket with this position, and tells what it was answered.
async function recovers(t, channel, request) {
  const socket = await t.connectedSocket();
  socket.say({ id: 2, subscribe: { channel, recover: true, ...request } });
  await socket.hears(2);
}

const recovery = (name, namespace, published, request) =>
  scenario(name, async (t) => {
    const channel = t.channel(`${namespace}:prices`);
    await fill(t, channel, 1, published);
    const { epoch } = (await topOf(t, channel)) ?? {};
    await recovers(t, channel, request(epoch));
  });

// The client is away while something happens, and comes back to its subscription.
async function away(t, client, meanwhile = async () => {}) {
  client.disconnect();
  await t.sees('client disconnected');
  await t.calm();
  await meanwhile();
  client.connect();
  await t.sees('subscription subscribed', 2);
}

module.exports = [
  scenario('history', { freeOrder: true }, async (t) => {
    const channel = t.channel('stream:prices');
    const client = await t.connected();
    const subscription = await t.subscribed(client, channel);
    await t.outcome('empty', subscription.history({ limit: 10 }));
    for (const price of [1, 2, 3, 4]) {
      await subscription.publish(t.data({ price }));
      await t.sees('subscription publication', price);
    }
    await t.outcome('position', subscription.history());
    await t.outcome('two', subscription.history({ limit: 2 }));
    await t.outcome('all', subscription.history({ limit: -1 }));
    await t.outcome('backwards', subscription.history({ limit: 2, reverse: true }));
    const { epoch } = (await topOf(t, channel));
    await t.outcome('since', subscription.history({ limit: 10, since: { offset: 2, epoch } }));
    await t.outcome('before', subscription.history({ limit: 10, since: { offset: 3, epoch }, reverse: true }));
    await t.outcome('none', subscription.history({ limit: 10, since: { offset: 4, epoch } }));
    await t.outcome('beyond', subscription.history({ limit: 10, since: { offset: 40, epoch } }));
    await t.outcome('anybody', subscription.history({ limit: 10, since: { offset: 2, epoch: '' } }));
  }),

  scenario('history-of-another-epoch', async (t) => {
    const subscription = await t.subscribed(await t.connected(), t.channel('stream:prices'));
    await t.outcome('history', subscription.history({ limit: 10, since: { offset: 0, epoch: 'other' } }));
  }),

  scenario('history-backwards-from-nowhere', { freeOrder: true }, async (t) => {
    const subscription = await t.subscribed(await t.connected(), t.channel('stream:prices'));
    await subscription.publish(t.data({ price: 1 }));
    await t.sees('subscription publication');
    await t.outcome('history', subscription.history({ limit: 10, since: { offset: 0, epoch: '' }, reverse: true }));
  }),

  scenario('history-forgets-the-oldest', async (t) => {
    const channel = t.channel('stream:prices');
    await fill(t, channel, 1, 7);
    const subscription = await t.subscribed(await t.connected(), channel);
    await t.outcome('history', subscription.history({ limit: -1 }));
  }),

  scenario('history-not-kept', async (t) => {
    const subscription = await t.subscribed(await t.connected(), t.channel('lobby:main'));
    await t.outcome('history', subscription.history({ limit: 10 }));
  }),

  scenario('history-not-allowed', async (t) => {
    const subscription = await t.subscribed(await t.connected(), t.channel('news:day'));
    await t.outcome('history', subscription.history({ limit: 10 }));
  }),

  scenario('history-without-subscription', async (t) => {
    await t.outcome('history', (await t.connected()).history(t.channel('stream:prices'), { limit: 10 }));
  }),

  scenario('history-unknown-namespace', async (t) => {
    await t.outcome('history', (await t.connected()).history(t.channel('nowhere:day'), { limit: 10 }));
  }),

  scenario('history-empty-channel', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, history: { limit: 1 } });
    await socket.closed;
  }),

  scenario('recover-what-was-missed', async (t) => {
    const channel = t.channel('stream:prices');
    const client = await t.connected();
    const subscription = await t.subscribed(client, channel);
    await fill(t, channel, 1, 2);
    await t.sees('subscription publication', 2);
    await away(t, client, () => fill(t, channel, 3, 5));
    await t.sees('subscription publication', 5);
    subscription.unsubscribe();
  }),

  scenario('recover-nothing-was-missed', async (t) => {
    const channel = t.channel('stream:prices');
    const client = await t.connected();
    await t.subscribed(client, channel);
    await fill(t, channel, 1, 2);
    await t.sees('subscription publication', 2);
    await away(t, client);
  }),

  scenario('recover-too-much-was-missed', async (t) => {
    const channel = t.channel('stream:prices');
    const client = await t.connected();
    await t.subscribed(client, channel);
    await fill(t, channel, 1, 1);
    await t.sees('subscription publication');
    await away(t, client, () => fill(t, channel, 2, 9));
  }),

  scenario('recover-after-history-was-removed', async (t) => {
    const channel = t.channel('stream:prices');
    const client = await t.connected();
    await t.subscribed(client, channel);
    await fill(t, channel, 1, 1);
    await t.sees('subscription publication');
    await away(t, client, () => t.api('history_remove', { channel }));
    await fill(t, channel, 2, 2);
    await t.sees('subscription publication', 2);
  }),

  scenario('recover-since-a-known-position', async (t) => {
    const channel = t.channel('stream:prices');
    await fill(t, channel, 1, 4);
    const { epoch } = await topOf(t, channel);
    await t.subscribed(await t.connected(), channel, { since: { offset: 2, epoch } });
    await t.sees('subscription publication', 2);
  }),

  recovery('recover-from-the-start', 'stream', 3, (epoch) => ({ offset: 0, epoch })),
  recovery('recover-from-the-start-of-what-is-kept', 'stream', 7, (epoch) => ({ offset: 2, epoch })),
  recovery('recover-from-before-what-is-kept', 'stream', 7, (epoch) => ({ offset: 1, epoch })),
  recovery('recover-from-the-top', 'stream', 3, (epoch) => ({ offset: 3, epoch })),
  recovery('recover-from-the-future', 'stream', 3, (epoch) => ({ offset: 9, epoch })),
  recovery('recover-another-epoch', 'stream', 3, () => ({ offset: 1, epoch: 'other' })),
  recovery('recover-any-epoch', 'stream', 3, () => ({ offset: 1, epoch: '' })),
  recovery('recover-a-state-declared-invalid', 'stream', 3, () => ({ offset: 0, epoch: '_' })),
  recovery('recover-an-empty-channel', 'stream', 0, () => ({ offset: 0, epoch: '' })),
  recovery('recover-or-nothing', 'stream', 7, (epoch) => ({ offset: 1, epoch, flag: 2 })),
  recovery('recover-or-nothing-recovered', 'stream', 3, (epoch) => ({ offset: 1, epoch, flag: 2 })),
  recovery('recover-where-nothing-is-kept', 'news', 2, () => ({ offset: 1, epoch: 'some' })),
  recovery('recover-where-only-positioned', 'watched', 3, (epoch) => ({ offset: 1, epoch })),
  recovery('recover-the-latest-only', 'cache', 3, (epoch) => ({ offset: 1, epoch })),
  recovery('recover-the-latest-of-another-epoch', 'cache', 3, () => ({ offset: 1, epoch: 'other' })),
  recovery('recover-the-latest-that-is-known', 'cache', 3, (epoch) => ({ offset: 3, epoch })),
  recovery('recover-the-latest-of-nothing', 'cache', 0, () => ({ offset: 0, epoch: '' })),
];
