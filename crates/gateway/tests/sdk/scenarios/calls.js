'use strict';
// Calls to the backend through the server, and messages that nobody takes.

const { scenario } = require('../scenarios.js');

const alice = (t) => t.connected('alice', { token: t.token(t.user('alice')) });

module.exports = [
  scenario('rpc', async (t) => {
    await t.outcome('rpc', (await alice(t)).rpc('backend:echo', t.data({ number: 7 })));
  }),

  scenario('rpc-without-answer', async (t) => {
    await t.outcome('rpc', (await alice(t)).rpc('backend:nothing', t.data({})));
  }),

  scenario('rpc-refused', async (t) => {
    await t.outcome('rpc', (await alice(t)).rpc('backend:refuse', t.data({})));
  }),

  scenario('rpc-backend-fails', async (t) => {
    await t.outcome('rpc', (await alice(t)).rpc('backend:unknown', t.data({})));
  }),

  scenario('rpc-that-disconnects', async (t) => {
    const client = await alice(t);
    client.on('connecting', () => client.disconnect());
    await t.outcome('rpc', client.rpc('backend:drop', t.data({})));
    await t.calm();
  }),

  scenario('rpc-without-backend', async (t) => {
    await t.outcome('rpc', (await alice(t)).rpc('echo', t.data({})));
  }),

  scenario('rpc-unknown-namespace', async (t) => {
    await t.outcome('rpc', (await alice(t)).rpc('nowhere:echo', t.data({})));
  }),

  scenario('rpc-without-method', async (t) => {
    const socket = await t.connectedSocket();
    socket.say({ id: 2, rpc: { data: {} } });
    await t.calm();
  }),

  scenario('send-without-taker', async (t) => {
    await t.outcome('send', (await alice(t)).send(t.data({ text: 'hello' })));
    await t.sees('alice disconnected');
  }),
];
