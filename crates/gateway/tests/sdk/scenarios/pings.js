'use strict';
// Signs of life.

const { scenario } = require('../scenarios.js');

module.exports = [
  scenario('ping-and-pong', { server: 'quick', pings: true }, async (t) => {
    const client = await t.connected();
    await t.answersAPing();
    client.disconnect();
    await t.calm();
  }),

  scenario('ping-without-pong', { server: 'quick', pings: true }, async (t) => {
    const socket = await t.connectedSocket();
    await socket.closed;
  }),

  scenario('pong-twice', { server: 'quick', pings: true }, async (t) => {
    const socket = await t.connectedSocket();
    await socket.hears(2);
    socket.say({}, {});
    await socket.closed;
  }),

  scenario('pong-without-ping', { pings: true }, async (t) => {
    const socket = await t.connectedSocket();
    socket.say({});
    await socket.closed;
  }),

  scenario('pong-before-connect', { pings: true }, async (t) => {
    const socket = await t.socket();
    socket.say({});
    await socket.closed;
  }),

  scenario('ping-by-frames', { server: 'quick', pings: true }, async (t) => {
    await t.connectedSocket({ query: '?cf_ws_frame_ping_pong=true' });
    await t.calm(1800);
  }),
];
