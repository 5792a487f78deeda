'use strict';
// Publications as differences to the one before, and publications chosen by their tags.

const { scenario } = require('../scenarios.js');

const quote = (price) => ({ symbol: 'ACME', venue: 'a long enough text to make a difference worth sending', price });
const english = { key: 'lang', cmp: 'eq', val: 'en' };

async function publish(t, channel, ...all) {
  for (const one of all) await t.api('publish', { channel, ...one });
}

module.exports = [
  scenario('delta', async (t) => {
    const channel = t.channel('delta:prices');
    await t.subscribed(await t.connected(), channel, { delta: 'fossil' });
    await publish(t, channel, { data: quote(1) }, { data: quote(2) }, { data: quote(2) }, { data: { other: true } }, { data: quote(3) });
    await t.sees('subscription publication', 5);
  }),

  scenario('delta-from-clients', { freeOrder: true }, async (t) => {
    const subscription = await t.subscribed(await t.connected(), t.channel('delta:prices'), { delta: 'fossil' });
    for (const price of [1, 2]) {
      await t.outcome('publish', subscription.publish(t.data(quote(price))));
      await t.sees('subscription publication', price);
    }
  }),

  scenario('delta-of-text-outside-ascii', async (t) => {
    const channel = t.channel('delta:prices');
    await t.subscribed(await t.connected(), channel, { delta: 'fossil' });
    await publish(t, channel, { data: { ...quote(1), name: 'größe 😀 aaaaaaaaaaaaaaaaaaaa' } }, { data: { ...quote(1), name: 'gröfe 😁 aaaaaaaaaaaaaaaaaaaa' } });
    await t.sees('subscription publication', 2);
  }),

  scenario('delta-recovered', async (t) => {
    const channel = t.channel('delta:prices');
    const client = await t.connected();
    await t.subscribed(client, channel, { delta: 'fossil' });
    await publish(t, channel, { data: quote(1) });
    await t.sees('subscription publication');
    client.disconnect();
    await t.sees('client disconnected');
    await t.calm();
    await publish(t, channel, { data: quote(2) }, { data: quote(3) });
    client.connect();
    await t.sees('subscription publication', 3);
    await publish(t, channel, { data: quote(4) });
    await t.sees('subscription publication', 4);
  }),

  scenario('delta-to-one-who-came-later', async (t) => {
    const channel = t.channel('delta:prices');
    await publish(t, channel, { data: quote(1) });
    await t.subscribed(await t.connected(), channel, { delta: 'fossil' });
    await publish(t, channel, { data: quote(2) }, { data: quote(3) });
    await t.sees('subscription publication', 2);
  }),

  scenario('delta-not-asked-for', async (t) => {
    const channel = t.channel('delta:prices');
    await t.subscribed(await t.connected(), channel);
    await publish(t, channel, { data: quote(1) }, { data: quote(2) });
    await t.sees('subscription publication', 2);
  }),

  scenario('delta-where-there-is-none', async (t) => {
    const channel = t.channel('stream:prices');
    await t.subscribed(await t.connected(), channel, { delta: 'fossil' });
    await publish(t, channel, { data: quote(1), delta: true }, { data: quote(2), delta: true });
    await t.sees('subscription publication', 2);
  }),

  scenario('tags-chosen', async (t) => {
    const channel = t.channel('tagged:news');
    await t.subscribed(await t.connected(), channel, { tagsFilter: english });
    await publish(t, channel, { data: { n: 1 }, tags: { lang: 'de' } }, { data: { n: 2 }, tags: { lang: 'en' } }, { data: { n: 3 } }, { data: { n: 4 }, tags: { lang: 'en', urgent: '' } });
    await t.sees('subscription publication', 2);
  }),

  scenario('tags-chosen-by-rules', async (t) => {
    const channel = t.channel('tagged:news');
    const urgent = { op: 'or', nodes: [{ key: 'level', cmp: 'gte', val: '5' }, { op: 'and', nodes: [{ key: 'lang', cmp: 'in', vals: ['en', 'fr'] }, { op: 'not', nodes: [{ key: 'old', cmp: 'ex' }] }] }] };
    await t.subscribed(await t.connected(), channel, { tagsFilter: urgent });
    await publish(t, channel, { data: { n: 1 }, tags: { level: '6' } }, { data: { n: 2 }, tags: { lang: 'fr', old: '1' } }, { data: { n: 3 }, tags: { lang: 'fr' } }, { data: { n: 4 }, tags: { level: '4.9' } }, { data: { n: 5 }, tags: { level: 'x', lang: 'en' } });
    await t.calm();
  }),

  scenario('tags-where-there-is-no-choice', async (t) => {
    t.subscription(await t.connected(), t.channel('news:day'), { tagsFilter: english }).subscribe();
    await t.sees('subscription unsubscribed');
  }),

  scenario('tags-by-a-rule-that-is-none', async (t) => {
    t.subscription(await t.connected(), t.channel('tagged:news'), { tagsFilter: { key: 'lang', cmp: 'like', val: 'e%' } }).subscribe();
    await t.calm(400);
  }),
];
