'use strict';
// Tokens that run out: refreshed in time, badly, or not at all.

const { scenario } = require('../scenarios.js');

const alice = (t, claims = {}, options = {}) => t.connected('alice', { token: t.token(t.user('alice'), claims), ...options });

// A connection with a token, on a plain socket, that then refreshes with another.
const refresh = (name, token) =>
  scenario(name, async (t) => {
    const socket = await t.connectedSocket({ connect: { token: t.token(t.user('alice')) } });
    socket.say({ id: 2, refresh: { token: token(t) } });
    await t.calm();
  });

// The same for a subscription.
const refreshSubscription = (name, token, subscribeFirst = true) =>
  scenario(name, async (t) => {
    const channel = t.channel('$news:day');
    const socket = await t.connectedSocket({ connect: { token: t.token(t.user('alice')) } });
    if (subscribeFirst) {
      socket.say({ id: 2, subscribe: { channel, token: t.subscriptionToken(t.user('alice'), channel) } });
      await socket.hears(2);
    }
    socket.say({ id: 3, sub_refresh: { channel, token: token(t, channel) } });
    await t.calm();
  });

module.exports = [
  scenario('refresh-in-time', async (t) => {
    let fetched = 0;
    await alice(t, { exp: t.now() + 2 }, {
      getToken: async () => {
        fetched += 1;
        t.saw('token fetched', fetched);
        return t.token(t.user('alice'));
      },
    });
    await t.sees('token fetched');
    await t.calm();
  }),

  scenario('refresh-refused-by-the-application', async (t) => {
    await alice(t, { exp: t.now() + 2 }, { getToken: async () => '' });
    await t.sees('alice disconnected');
  }),

  refresh('refresh-with-a-good-token', (t) => t.token(t.user('alice'), { exp: t.now() + 600 })),
  refresh('refresh-with-a-token-that-never-expires', (t) => t.sign({ sub: t.user('alice') })),
  refresh('refresh-with-an-expired-token', (t) => t.token(t.user('alice'), { exp: t.now() - 10 })),
  refresh('refresh-with-a-token-of-another-user', (t) => t.token(t.user('bob'))),
  refresh('refresh-with-a-token-of-another-key', (t) => t.token(t.user('alice'), {}, 'another key')),
  refresh('refresh-with-other-channels', (t) => t.token(t.user('alice'), { channels: [t.channel('news:day')] })),
  refresh('refresh-without-token', () => ''),

  scenario('refresh-nobody', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, refresh: { token: t.token(t.user('alice')) } });
    await t.calm();
  }),

  scenario('refresh-by-client-where-the-backend-does', { server: 'asked' }, async (t) => {
    const socket = await t.connectedSocket({ connect: { data: { user: t.user('alice'), lasts: 600 } } });
    socket.say({ id: 2, refresh: { token: t.token(t.user('alice')) } });
    await t.calm();
  }),

  scenario('connection-expires', { server: 'quick' }, async (t) => {
    const client = await alice(t, { exp: t.now() + 2 }, { getToken: () => new Promise(() => {}) });
    client.on('connecting', () => client.disconnect());
    await t.sees('alice connecting', 2);
  }),

  scenario('sub-refresh-in-time', async (t) => {
    const channel = t.channel('$news:day');
    let fetched = 0;
    await t.subscribed(await alice(t), channel, {
      token: t.subscriptionToken(t.user('alice'), channel, { exp: t.now() + 2 }),
      getToken: async () => {
        fetched += 1;
        t.saw('token fetched', fetched);
        return t.subscriptionToken(t.user('alice'), channel);
      },
    });
    await t.sees('token fetched');
    await t.calm();
  }),

  scenario('sub-refresh-with-an-expired-token', async (t) => {
    const channel = t.channel('$news:day');
    const lifetimes = [-10, 600, 600];
    await t.subscribed(await alice(t), channel, {
      token: t.subscriptionToken(t.user('alice'), channel, { exp: t.now() + 2 }),
      getToken: async () => {
        t.saw('token fetched', lifetimes[0]);
        return t.subscriptionToken(t.user('alice'), channel, { exp: t.now() + lifetimes.shift() });
      },
    });
    await t.sees('token fetched');
    await t.calm(600);
  }),

  refreshSubscription('sub-refresh-with-a-good-token', (t, channel) => t.subscriptionToken(t.user('alice'), channel)),
  refreshSubscription('sub-refresh-expired', (t, channel) => t.subscriptionToken(t.user('alice'), channel, { exp: t.now() - 10 })),
  refreshSubscription('sub-refresh-of-another-channel', (t) => t.subscriptionToken(t.user('alice'), t.channel('$news:night'))),
  refreshSubscription('sub-refresh-of-another-user', (t, channel) => t.subscriptionToken(t.user('bob'), channel)),
  refreshSubscription('sub-refresh-of-another-key', (t, channel) => t.subscriptionToken(t.user('alice'), channel, {}, 'another key')),
  refreshSubscription('sub-refresh-without-token', () => ''),
  refreshSubscription('sub-refresh-without-subscription', (t, channel) => t.subscriptionToken(t.user('alice'), channel), false),

  scenario('subscription-expires', { server: 'quick' }, async (t) => {
    const channel = t.channel('$news:day');
    const client = await alice(t);
    t.subscription(client, channel, { token: t.subscriptionToken(t.user('alice'), channel, { exp: t.now() + 2 }), getToken: () => new Promise(() => {}) }).subscribe();
    await t.sees('subscription subscribing', 2);
  }),
];
