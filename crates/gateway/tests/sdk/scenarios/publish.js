'use strict';
// Publishing from clients: who may, who hears it, and what a publication carries.

const { scenario } = require('../scenarios.js');

const alice = (t) => t.connected('alice', { token: t.token(t.user('alice'), { info: { name: 'Alice' } }) });

// Its own coming is told to a client after the answer.
async function inTheLobby(t, client) {
  const subscription = await t.subscribed(client, t.channel('lobby:main'));
  await t.sees('subscription join');
  return subscription;
}

// The answer and what is heard come in any order, but both before what is done next.
async function publishAndHear(t, subscription, data, heard) {
  await t.outcome('publish', subscription.publish(t.data(data)));
  await t.sees('subscription publication', heard);
}

module.exports = [
  scenario('publish-and-hear-it', { freeOrder: true }, async (t) => {
    const subscription = await inTheLobby(t, await alice(t));
    await t.outcome('publish', subscription.publish(t.data({ text: 'hello' })));
    await t.sees('subscription publication');
  }),

  scenario('publish-by-nobody', { freeOrder: true }, async (t) => {
    const subscription = await inTheLobby(t, await t.connected());
    await t.outcome('publish', subscription.publish(t.data({ text: 'hello' })));
    await t.sees('subscription publication');
  }),

  scenario('publish-with-offsets', { freeOrder: true }, async (t) => {
    const subscription = await t.subscribed(await alice(t), t.channel('stream:prices'));
    for (const price of [1, 2, 3]) await publishAndHear(t, subscription, { price }, price);
  }),

  scenario('publish-with-information-about-the-seat', { freeOrder: true }, async (t) => {
    const channel = t.channel('chat:room');
    const token = t.subscriptionToken(t.user('alice'), channel, { info: { seat: 4 } });
    const subscription = await t.subscribed(await alice(t), channel, { token });
    await t.outcome('publish', subscription.publish(t.data({ text: 'hello' })));
    await t.sees('subscription publication');
  }),

  scenario('publish-heard-by-another', { freeOrder: true }, async (t) => {
    const channel = t.channel('chat:room');
    await t.subscribed(await t.connected('bob', { token: t.token(t.user('bob')) }), channel, {}, 'bobs');
    const subscription = await t.subscribed(await alice(t), channel, {}, 'alices');
    await t.outcome('publish', subscription.publish(t.data({ text: 'hello' })));
    await t.sees('bobs publication');
    await t.sees('alices publication');
  }),

  scenario('publish-every-kind-of-json', { freeOrder: true }, async (t) => {
    const subscription = await inTheLobby(t, await alice(t));
    const kinds = ['text', 'größe 😀 \u2028 "quoted" \\ / <b>', 0, -1.5, 1e21, true, [], [1, [2]], {}, { a: { b: null } }];
    for (const [n, kind] of kinds.entries()) await publishAndHear(t, subscription, kind, n + 1);
  }),

  scenario('publish-null', { freeOrder: true }, async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, subscribe: { channel: t.channel('lobby:main') } });
    await socket.hears(3);
    socket.say({ id: 3, publish: { channel: t.channel('lobby:main'), data: null } });
    await t.calm();
  }),

  scenario('publish-json-with-newlines-and-spaces', { encodings: ['json'], freeOrder: true }, async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, subscribe: { channel: t.channel('lobby:main') } });
    await socket.hears(3);
    socket.send(`{"id":3, "publish": {"channel":"${t.channel('lobby:main')}", "data": {"a" : [ 1,\t2 ] }}}`);
    await socket.hears(5);
  }),

  scenario('publish-bytes-heard-in-json', { encodings: ['protobuf'] }, async (t) => {
    const channel = t.channel('lobby:main');
    const listener = await t.connectedSocket({ encoding: 'json', subprotocols: [] });
    listener.say({ id: 2, subscribe: { channel } });
    await listener.hears(3);
    const socket = await t.connectedSocket();
    socket.say({ id: 2, publish: { channel: t.channel('stream:other'), data: Buffer.from([0xff, 0x00, 0x7b]) } });
    await socket.hears(2);
    socket.say({ id: 3, subscribe: { channel } });
    await socket.hears(4);
    await t.calm();
    socket.say({ id: 4, publish: { channel, data: Buffer.from([0xff, 0x00, 0x7b]) } });
    await t.calm();
  }),

  scenario('publish-without-subscription', async (t) => {
    await t.outcome('publish', (await alice(t)).publish(t.channel('chat:room'), t.data({ text: 'hello' })));
  }),

  scenario('publish-without-subscription-where-allowed', async (t) => {
    await t.outcome('publish', (await alice(t)).publish(t.channel('stream:prices'), t.data({ price: 1 })));
  }),

  scenario('publish-not-allowed', async (t) => {
    const subscription = await t.subscribed(await alice(t), t.channel('news:day'));
    await t.outcome('publish', subscription.publish(t.data({ headline: 1 })));
  }),

  scenario('publish-unknown-namespace', async (t) => {
    await t.outcome('publish', (await alice(t)).publish(t.channel('nowhere:day'), t.data({})));
  }),

  scenario('publish-nothing', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, publish: { channel: t.channel('stream:prices') } });
    await t.calm();
  }),

  scenario('publish-empty-channel', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, publish: { data: {} } });
    await socket.closed;
  }),

  scenario('publish-by-backend', { freeOrder: true }, async (t) => {
    const subscription = await t.subscribed(await alice(t), t.channel('checked:wall'));
    await t.outcome('publish', subscription.publish(t.data({ text: 'hello' })));
    await t.sees('subscription publication');
  }),

  scenario('publish-by-backend-error', async (t) => {
    const subscription = await t.subscribed(await alice(t), t.channel('checked:wall'));
    await t.outcome('publish', subscription.publish(t.data({ rude: true })));
  }),

  scenario('publish-keyed', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, publish: { channel: t.channel('stream:prices'), data: {}, type: 1, key: 'k' } });
    await t.calm();
  }),
];
