'use strict';
// Who is in a channel, asked for and told.

const { scenario } = require('../scenarios.js');

const connected = (t, name) => t.connected(name, { token: t.token(t.user(name), { info: { name } }) });

module.exports = [
  scenario('presence', async (t) => {
    const channel = t.channel('chat:room');
    const token = t.subscriptionToken(t.user('bob'), channel, { info: { seat: 4 } });
    await t.subscribed(await connected(t, 'bob'), channel, { token }, 'bobs');
    const subscription = await t.subscribed(await connected(t, 'alice'), channel, {}, 'alices');
    await t.outcome('presence', subscription.presence());
  }),

  scenario('presence-stats', async (t) => {
    const channel = t.channel('chat:room');
    await t.subscribed(await connected(t, 'bob'), channel, {}, 'bobs');
    await t.subscribed(await t.connected('again', { token: t.token(t.user('bob')) }), channel, {}, 'agains');
    const subscription = await t.subscribed(await connected(t, 'alice'), channel, {}, 'alices');
    await t.outcome('stats', subscription.presenceStats());
  }),

  scenario('presence-without-subscription', async (t) => {
    const client = await connected(t, 'alice');
    await t.outcome('presence', client.presence(t.channel('chat:room')));
    await t.outcome('stats', client.presenceStats(t.channel('chat:room')));
  }),

  scenario('presence-not-kept', async (t) => {
    const subscription = await t.subscribed(await connected(t, 'alice'), t.channel('stream:prices'));
    await t.outcome('presence', subscription.presence());
    await t.outcome('stats', subscription.presenceStats());
  }),

  scenario('presence-not-allowed', async (t) => {
    const subscription = await t.subscribed(await connected(t, 'alice'), t.channel('news:day'));
    await t.outcome('presence', subscription.presence());
    await t.outcome('stats', subscription.presenceStats());
  }),

  scenario('presence-unknown-namespace', async (t) => {
    const client = await connected(t, 'alice');
    await t.outcome('presence', client.presence(t.channel('nowhere:day')));
    await t.outcome('stats', client.presenceStats(t.channel('nowhere:day')));
  }),

  scenario('presence-after-leaving', async (t) => {
    const channel = t.channel('chat:room');
    const bob = await connected(t, 'bob');
    await t.subscribed(bob, channel, {}, 'bobs');
    const subscription = await t.subscribed(await connected(t, 'alice'), channel, {}, 'alices');
    bob.disconnect();
    await t.calm();
    await t.outcome('presence', subscription.presence());
  }),

  scenario('join-and-leave-asked-for', async (t) => {
    const channel = t.channel('chat:room');
    await t.subscribed(await connected(t, 'alice'), channel, { joinLeave: true }, 'alices');
    await t.sees('alices join');
    const bobs = await t.subscribed(await connected(t, 'bob'), channel, {}, 'bobs');
    await t.sees('alices join', 2);
    bobs.unsubscribe();
    await t.sees('alices leave');
  }),

  scenario('join-and-leave-not-asked-for', async (t) => {
    const channel = t.channel('chat:room');
    await t.subscribed(await connected(t, 'alice'), channel, {}, 'alices');
    const bobs = await t.subscribed(await connected(t, 'bob'), channel, {}, 'bobs');
    bobs.unsubscribe();
  }),

  scenario('join-and-leave-for-everybody', async (t) => {
    const channel = t.channel('lobby:main');
    await t.subscribed(await connected(t, 'alice'), channel, {}, 'alices');
    const bob = await connected(t, 'bob');
    await t.subscribed(bob, channel, {}, 'bobs');
    await t.sees('alices join', 2);
    bob.disconnect();
    await t.sees('alices leave');
  }),

  scenario('join-and-leave-where-there-are-none', async (t) => {
    await t.subscribed(await connected(t, 'alice'), t.channel('news:day'), { joinLeave: true }, 'alices');
  }),

  scenario('presence-empty-channel', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, presence: {} });
    await socket.closed;
  }),

  scenario('presence-stats-empty-channel', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, presence_stats: {} });
    await socket.closed;
  }),
];
