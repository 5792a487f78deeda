'use strict';
// What the server does on its own: subscriptions from tokens, and the server API seen by clients.

const { scenario } = require('../scenarios.js');

const alice = (t, claims = {}, options = {}) => t.connected('alice', { token: t.token(t.user('alice'), { info: { name: 'Alice' }, ...claims }), ...options });

// The same user connects again, by a token that grants no channel any more.
async function loseToken(t, client) {
  client.disconnect();
  await t.sees('alice disconnected');
  await t.calm();
  client.setToken(t.token(t.user('alice')));
  client.connect();
}

module.exports = [
  scenario('token-with-channels', async (t) => {
    await alice(t, { channels: [t.channel('news:day')] });
    await t.api('publish', { channel: t.channel('news:day'), data: { headline: 1 } });
    await t.sees('alice publication');
  }),

  scenario('token-with-subs', { freeOrder: true }, async (t) => {
    const subs = {
      [t.channel('chat:room')]: { info: { seat: 4 }, data: { topic: 'x' }, override: { force_recovery: { value: true }, force_push_join_leave: { value: true } } },
      [t.channel('news:day')]: {},
    };
    await alice(t, { subs });
    await t.sees('alice join');
    await t.api('presence', { channel: t.channel('chat:room') });
  }),

  scenario('token-with-unknown-namespace', async (t) => {
    t.client('alice', { token: t.token(t.user('alice'), { channels: [t.channel('nowhere:day')] }) }).connect();
    await t.sees('alice disconnected');
  }),

  scenario('token-with-too-many-channels', { server: 'strict' }, async (t) => {
    t.client('alice', { token: t.token(t.user('alice'), { channels: ['a', 'b', 'c', 'd'].map((name) => t.channel(`news:${name}`)) }) }).connect();
    await t.sees('alice disconnected');
  }),

  scenario('token-channel-subscribed-by-client-too', async (t) => {
    const client = await alice(t, { channels: [t.channel('news:day')] });
    t.subscription(client, t.channel('news:day')).subscribe();
    await t.sees('subscription unsubscribed');
  }),

  scenario('token-channel-recovered', async (t) => {
    const channel = t.channel('stream:prices');
    const client = await alice(t, { channels: [channel] });
    await t.api('publish', { channel, data: { price: 1 } });
    await t.sees('alice publication');
    client.disconnect();
    await t.sees('alice disconnected');
    await t.calm();
    await t.api('publish', { channel, data: { price: 2 } });
    client.connect();
    await t.sees('alice publication', 2);
  }),

  scenario('token-channel-gone', async (t) => {
    const client = await alice(t, { channels: [t.channel('closed:prices')] });
    await loseToken(t, client);
    await t.sees('alice unsubscribed');
  }),

  // A position is enough to be subscribed where everybody may.
  scenario('token-channel-gone-but-open-to-all', async (t) => {
    const client = await alice(t, { channels: [t.channel('stream:prices')] });
    await loseToken(t, client);
    await t.sees('alice connected', 2);
  }),

  scenario('connect-with-positions-of-any-channels', async (t) => {
    const subs = Object.fromEntries(['stream:a', 'news:b', 'closed:c', '$news:d', 'chat:e#bob', 'asked:f'].map((name) => [t.channel(name), { recover: true }]));
    await t.connectedSocket({ connect: { token: t.token(t.user('alice')), subs } });
  }),

  scenario('connect-with-a-position-of-an-unknown-channel', async (t) => {
    const socket = await t.socket();
    socket.say({ id: 1, connect: { token: t.token(t.user('alice')), subs: { [t.channel('nowhere:day')]: { recover: true } } } });
    await t.calm(400);
  }),

  scenario('api-subscribe-and-unsubscribe', async (t) => {
    const channel = t.channel('stream:prices');
    await alice(t);
    await t.api('subscribe', { user: t.user('alice'), channel, data: { welcome: true } });
    await t.sees('alice subscribed');
    await t.api('publish', { channel, data: { price: 1 } });
    await t.sees('alice publication');
    await t.api('subscribe', { user: t.user('alice'), channel });
    await t.calm();
    await t.api('unsubscribe', { user: t.user('alice'), channel });
    await t.sees('alice unsubscribed');
    await t.api('publish', { channel, data: { price: 2 } });
  }),

  scenario('api-subscribe-with-history-and-seat', async (t) => {
    const channel = t.channel('chat:room');
    await alice(t);
    await t.api('publish', { channel, data: { text: 1 } });
    const override = { force_recovery: { value: true }, force_push_join_leave: { value: true } };
    await t.api('subscribe', { user: t.user('alice'), channel, info: { seat: 4 }, override });
    await t.sees('alice join');
    await t.api('presence', { channel });
  }),

  scenario('api-subscribe-unknown-namespace', async (t) => {
    await alice(t);
    await t.api('subscribe', { user: t.user('alice'), channel: t.channel('nowhere:day') });
    await t.api('subscribe', { user: t.user('alice') });
  }),

  scenario('api-unsubscribe-what-the-client-subscribed', async (t) => {
    await t.subscribed(await alice(t), t.channel('news:day'));
    await t.api('unsubscribe', { user: t.user('alice'), channel: t.channel('news:day') });
    await t.sees('subscription unsubscribed');
  }),

  scenario('api-unsubscribe-from-everything', async (t) => {
    await t.subscribed(await alice(t), t.channel('news:day'));
    await t.api('unsubscribe', { user: t.user('alice'), channel: '' });
    await t.calm();
  }),

  scenario('api-disconnect', async (t) => {
    await alice(t);
    await t.api('disconnect', { user: t.user('alice') });
    await t.sees('alice disconnected');
  }),

  scenario('api-disconnect-and-reconnect', async (t) => {
    const client = await alice(t);
    await t.subscribed(client, t.channel('news:day'));
    await t.api('disconnect', { user: t.user('alice'), disconnect: { code: 4100, reason: 'come back' } });
    await t.sees('subscription subscribed', 2);
  }),

  scenario('api-disconnect-for-good', async (t) => {
    await alice(t);
    await t.api('disconnect', { user: t.user('alice'), disconnect: { code: 4500, reason: 'go away' } });
    await t.sees('alice disconnected');
  }),

  scenario('api-disconnect-others', async (t) => {
    await alice(t);
    await t.api('disconnect', { user: t.user('bob') });
    await t.calm();
  }),

  scenario('api-refresh', async (t) => {
    await alice(t);
    await t.api('refresh', { user: t.user('alice'), expire_at: t.now() + 600 });
    await t.calm();
  }),

  scenario('api-refresh-expired', async (t) => {
    const client = await alice(t);
    client.on('connecting', () => client.disconnect());
    await t.api('refresh', { user: t.user('alice'), expired: true });
    await t.sees('alice connecting', 2);
  }),

  scenario('api-publish-with-tags', async (t) => {
    await t.subscribed(await alice(t), t.channel('tagged:news'));
    await t.api('publish', { channel: t.channel('tagged:news'), data: { headline: 1 }, tags: { lang: 'en', kind: '' } });
    await t.sees('subscription publication');
  }),

  scenario('api-publish-base64', async (t) => {
    await t.subscribed(await alice(t), t.channel('lobby:main'));
    await t.api('publish', { channel: t.channel('lobby:main'), b64data: Buffer.from('{"a":1}').toString('base64') });
    await t.sees('subscription publication');
  }),

  scenario('api-publish-not-into-history', async (t) => {
    await t.subscribed(await alice(t), t.channel('chat:room'));
    await t.api('publish', { channel: t.channel('chat:room'), data: { n: 1 } });
    await t.api('publish', { channel: t.channel('chat:room'), data: { n: 2 }, skip_history: true });
    await t.api('publish', { channel: t.channel('chat:room'), data: { n: 3 } });
    await t.sees('subscription publication', 3);
    await t.api('history', { channel: t.channel('chat:room'), limit: 10 });
  }),

  scenario('api-publish-once', async (t) => {
    const channel = t.channel('stream:prices');
    await t.subscribed(await alice(t), channel);
    await t.api('publish', { channel, data: { n: 1 }, idempotency_key: 'one' });
    await t.api('publish', { channel, data: { n: 2 }, idempotency_key: 'one' });
    await t.calm();
  }),

  scenario('api-publish-newer-versions-only', async (t) => {
    const channel = t.channel('stream:prices');
    await t.subscribed(await alice(t), channel);
    for (const version of [2, 1, 2, 3]) await t.api('publish', { channel, data: { version }, version });
    await t.calm();
  }),

  scenario('api-publish-refused', async (t) => {
    await t.api('publish', { channel: t.channel('nowhere:day'), data: {} });
    await t.api('publish', { channel: t.channel('news:day') });
    await t.api('publish', { data: {} });
    await t.api('publish', []);
    await t.api('publish', { channel: t.channel('$news:day'), data: {}, unknown: 1 });
  }),

  scenario('api-broadcast', { freeOrder: true }, async (t) => {
    const client = await alice(t);
    await t.subscribed(client, t.channel('news:a'), {}, 'a');
    await t.subscribed(client, t.channel('stream:b'), {}, 'b');
    await t.api('broadcast', { channels: [t.channel('news:a'), t.channel('nowhere:c'), t.channel('stream:b'), ''], data: { headline: 1 } });
    await t.sees('a publication');
    await t.sees('b publication');
    await t.api('broadcast', { channels: [], data: {} });
  }),

  scenario('api-batch', async (t) => {
    const channel = t.channel('stream:prices');
    await t.subscribed(await alice(t), channel);
    const commands = [
      { publish: { channel, data: { price: 1 } } },
      { history: { channel, limit: 1 } },
      { presence_stats: { channel } },
      { channels: { pattern: t.channel('stream:*') } },
      { nonsense: {} },
      { publish: { channel, data: { price: 2 } } },
    ];
    await t.api('batch', { commands });
    await t.sees('subscription publication', 2);
  }),

  scenario('api-history', async (t) => {
    const channel = t.channel('stream:prices');
    await t.api('history', { channel, limit: 10 });
    for (const price of [1, 2, 3]) await t.api('publish', { channel, data: { price } });
    const { epoch } = (await t.api('history', { channel, limit: -1 })).result;
    await t.api('history', { channel, limit: 1, since: { offset: 1, epoch } });
    await t.api('history', { channel, limit: 2, reverse: true });
    await t.api('history', { channel, limit: 2, since: { offset: 1, epoch: 'other' } });
    await t.api('history', { channel: t.channel('news:day'), limit: 2 });
    await t.api('history_remove', { channel });
    await t.api('history', { channel, limit: 2 });
  }),

  scenario('api-presence', async (t) => {
    const channel = t.channel('chat:room');
    await t.api('presence', { channel });
    await t.subscribed(await alice(t), channel);
    await t.api('presence', { channel });
    await t.api('presence_stats', { channel });
    await t.api('presence', { channel: t.channel('news:day') });
    await t.api('presence', {});
  }),

  scenario('api-channels', async (t) => {
    await t.subscribed(await alice(t), t.channel('news:day'));
    await t.api('channels', { pattern: t.channel('news:*') });
    await t.api('channels', { pattern: t.channel('nowhere:*') });
  }),

  scenario('api-unknown', async (t) => {
    await t.api('nonsense', {});
    await t.api('rpc', { method: 'nonsense', params: {} });
  }),
];
