'use strict';
// Who may subscribe to what, and how a subscription ends.

const { scenario } = require('../scenarios.js');

const alice = (t, options = {}) => t.connected('alice', { token: t.token(t.user('alice'), { info: { name: 'Alice' } }), ...options });

async function refused(t, channel, options = {}) {
  t.subscription(await alice(t), channel, options).subscribe();
  await t.sees('subscription unsubscribed');
}

async function disconnected(t, channel, options = {}) {
  t.subscription(await alice(t), channel, options).subscribe();
  await t.sees('alice disconnected');
}

module.exports = [
  scenario('subscribe', async (t) => {
    await t.subscribed(await t.connected(), t.channel('news:day'));
  }),

  scenario('subscribe-without-namespace', async (t) => {
    await t.subscribed(await t.connected(), t.channel('day'));
  }),

  scenario('subscribe-in-the-frame-of-connect', async (t) => {
    const client = t.client();
    t.subscription(client, t.channel('news:day')).subscribe();
    client.connect();
    await t.sees('subscription subscribed');
  }),

  scenario('subscribe-with-positions-asked-for', async (t) => {
    await t.subscribed(await t.connected(), t.channel('chat:room'), { positioned: true, recoverable: true });
  }),

  scenario('subscribe-with-positions-not-asked-for', async (t) => {
    await t.subscribed(await t.connected(), t.channel('chat:room'));
  }),

  scenario('subscribe-with-positions-refused', async (t) => {
    await t.subscribed(await t.connected(), t.channel('news:day'), { positioned: true, recoverable: true });
  }),

  scenario('subscribe-to-a-recoverable-channel', async (t) => {
    await t.subscribed(await t.connected(), t.channel('stream:prices'));
  }),

  scenario('subscribe-to-a-positioned-channel', async (t) => {
    await t.subscribed(await t.connected(), t.channel('watched:prices'));
  }),

  scenario('subscribe-twice', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, subscribe: { channel: t.channel('news:day') } });
    await socket.hears(2);
    socket.say({ id: 3, subscribe: { channel: t.channel('news:day') } });
    await socket.hears(3);
  }),

  scenario('subscribe-unknown-namespace', async (t) => refused(t, t.channel('nowhere:day'))),

  scenario('subscribe-not-allowed', async (t) => refused(t, t.channel('closed:day'))),

  scenario('subscribe-private-without-token', async (t) => refused(t, t.channel('$news:day'))),

  scenario('subscribe-private-with-token', async (t) => {
    const channel = t.channel('$news:day');
    await t.subscribed(await alice(t), channel, { token: t.subscriptionToken(t.user('alice'), channel) });
  }),

  scenario('subscribe-with-token-where-nothing-is-allowed', async (t) => {
    const channel = t.channel('closed:day');
    await t.subscribed(await alice(t), channel, { token: t.subscriptionToken(t.user('alice'), channel, { info: { seat: 4 }, data: { topic: 'x' } }) });
  }),

  scenario('subscribe-token-that-overrides', async (t) => {
    const channel = t.channel('chat:room');
    const override = { force_recovery: { value: true }, force_push_join_leave: { value: true } };
    await t.subscribed(await alice(t), channel, { token: t.subscriptionToken(t.user('alice'), channel, { override }) });
    await t.sees('subscription join');
  }),

  scenario('subscribe-token-fetched', async (t) => {
    const channel = t.channel('$news:day');
    await t.subscribed(await alice(t), channel, { getToken: async () => t.subscriptionToken(t.user('alice'), channel) });
  }),

  scenario('subscribe-token-of-another-channel', async (t) =>
    disconnected(t, t.channel('$news:day'), { token: t.subscriptionToken(t.user('alice'), t.channel('$news:night')) })),

  scenario('subscribe-token-of-another-user', async (t) =>
    disconnected(t, t.channel('$news:day'), { token: t.subscriptionToken(t.user('bob'), t.channel('$news:day')) })),

  scenario('subscribe-token-of-another-key', async (t) =>
    refused(t, t.channel('$news:day'), { token: t.subscriptionToken(t.user('alice'), t.channel('$news:day'), {}, 'another key') })),

  scenario('subscribe-token-that-is-none', async (t) => refused(t, t.channel('$news:day'), { token: 'letmein' })),

  scenario('subscribe-with-a-connection-token', async (t) =>
    refused(t, t.channel('$news:day'), { token: t.token(t.user('alice')) })),

  scenario('subscribe-expired-token-refreshed', async (t) => {
    const channel = t.channel('$news:day');
    await t.subscribed(await alice(t), channel, {
      token: t.subscriptionToken(t.user('alice'), channel, { exp: t.now() - 10 }),
      getToken: async () => t.subscriptionToken(t.user('alice'), channel),
    });
  }),

  scenario('subscribe-expired-token-without-another', async (t) =>
    refused(t, t.channel('$news:day'), { token: t.subscriptionToken(t.user('alice'), t.channel('$news:day'), { exp: t.now() - 10 }) })),

  scenario('subscribe-token-refused-by-the-application', async (t) =>
    refused(t, t.channel('$news:day'), { getToken: async () => '' })),

  scenario('subscribe-user-channel-of-ones-own', async (t) => {
    await t.subscribed(await alice(t), `chat:dialog#bob,${t.user('alice')}`);
  }),

  scenario('subscribe-user-channel-of-others', async (t) => refused(t, `chat:dialog#bob,${t.user('carol')}`)),

  scenario('subscribe-user-channel-where-there-are-none', async (t) => {
    await t.subscribed(await alice(t), `news:dialog#bob,${t.user('carol')}`);
  }),

  scenario('subscribe-by-backend', async (t) => {
    await t.subscribed(await alice(t), t.channel('asked:day'), { data: t.data({ seat: 1 }) });
  }),

  scenario('subscribe-by-backend-error', async (t) => refused(t, t.channel('asked:members'))),

  scenario('subscribe-by-backend-disconnect', async (t) => disconnected(t, t.channel('asked:trap'))),

  scenario('subscribe-channel-too-long', async (t) => refused(t, `news:${'x'.repeat(251)}`)),

  scenario('subscribe-channel-as-long-as-allowed', async (t) => {
    const channel = t.channel('news:');
    await t.subscribed(await alice(t), channel + 'x'.repeat(255 - channel.length));
  }),

  scenario('subscribe-channel-outside-ascii', async (t) => refused(t, t.channel('news:größe'))),

  scenario('subscribe-empty-channel', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, subscribe: {} });
    await socket.closed;
  }),

  scenario('subscribe-too-many', { server: 'strict' }, async (t) => {
    const client = await alice(t);
    for (const name of ['a', 'b', 'c']) await t.subscribed(client, t.channel(`news:${name}`), {}, name);
    t.subscription(client, t.channel('news:d'), {}, 'd').subscribe();
    await t.sees('d unsubscribed');
  }),

  scenario('subscribe-to-128-and-one-more-in-one-frame', async (t) => {
    const socket = await t.connectedSocket();
    socket.say(...Array.from({ length: 129 }, (_, n) => ({ id: n + 2, subscribe: { channel: t.channel(`news:${n}`) } })));
    await socket.hears(130);
  }),

  scenario('subscribe-to-1000-in-one-frame', async (t) => {
    const socket = await t.connectedSocket();
    const many = Array.from({ length: 1000 }, (_, n) => ({ id: n + 2, subscribe: { channel: t.channel(`news:${n}`) } }));
    socket.say(...many);
    await socket.hears(1001);
  }),

  scenario('unsubscribe', async (t) => {
    const subscription = await t.subscribed(await t.connected(), t.channel('news:day'));
    subscription.unsubscribe();
    await t.sees('subscription unsubscribed');
    await t.calm();
    await t.api('publish', { channel: t.channel('news:day'), data: {} });
  }),

  scenario('unsubscribe-and-subscribe-again', async (t) => {
    const subscription = await t.subscribed(await t.connected(), t.channel('stream:prices'));
    subscription.unsubscribe();
    await t.calm();
    await t.api('publish', { channel: t.channel('stream:prices'), data: { price: 1 } });
    subscription.subscribe();
    await t.sees('subscription subscribed', 2);
  }),

  scenario('unsubscribe-what-was-not-subscribed', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, unsubscribe: { channel: t.channel('news:day') } });
    await socket.hears(2);
  }),

  scenario('unsubscribe-empty-channel', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, unsubscribe: {} });
    await socket.closed;
  }),

  scenario('subscribe-keyed', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, subscribe: { channel: t.channel('chat:room'), type: 1, phase: 2 } });
    await socket.hears(2);
  }),

  scenario('subscribe-with-an-unknown-delta', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, subscribe: { channel: t.channel('delta:prices'), delta: 'vcdiff' } });
    await t.calm();
  }),
];
