'use strict';
// More of everything than an application has. They keep this process busy, so nothing else is played beside them.

const assert = require('node:assert/strict');

module.exports = {
  async 'three thousand in one go come in order, and once'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('open:room'));
    const numbers = Array.from({ length: 3000 }, (_, n) => n);
    await Promise.all(numbers.map((n) => mine.say(n)));
    assert.deepEqual(await others.hears(3000), numbers);
    assert.deepEqual(await mine.hears(3000), numbers);
  },

  async 'a thousand subscriptions in one frame are all made, and heard'(c, { a, b }) {
    const names = Array.from({ length: 1000 }, (_, n) => c.channel(`free:${n}`));
    const [client, publisher] = [c.client(a), await c.connected(b)];
    const subscriptions = names.map((name) => c.subscription(client, name));
    for (const subscription of subscriptions) subscription.subscribe();
    client.connect();
    await Promise.all(subscriptions.map(({ seen }) => seen.sees('subscribed')));
    for (const n of [0, 499, 999]) await publisher.publish(names[n], c.data(publisher, n));
    for (const n of [0, 499, 999]) assert.deepEqual(await subscriptions[n].hears(1), [n]);
  },

  async 'more channels than allowed are refused, and the others stay'(c, { b }) {
    const client = await c.connected(b);
    const names = Array.from({ length: 1101 }, (_, n) => c.channel(`free:${n}`));
    client.startBatching();
    const subscriptions = names.map((name) => c.subscription(client, name));
    for (const subscription of subscriptions) subscription.subscribe();
    client.stopBatching();
    assert.equal((await subscriptions[1100].seen.sees('unsubscribed')).code, 106);
    await Promise.all(subscriptions.slice(0, 1100).map(({ seen }) => seen.sees('subscribed')));
  },
};
