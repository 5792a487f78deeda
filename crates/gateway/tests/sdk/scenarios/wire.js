'use strict';
// What no SDK says: frames that are not messages, messages out of turn.

const { scenario } = require('../scenarios.js');

const json = { encodings: ['json'] };
const protobuf = { encodings: ['protobuf'] };

// A frame that no SDK would send, from a socket that is connected.
const sends = (name, options, frame) =>
  scenario(name, options, async (t) => {
    const socket = await t.connectedSocket();
    socket.send(typeof frame === 'function' ? frame(t) : frame);
    await t.calm(400);
  });

// The same before connect.
const sendsAtFirst = (name, options, frame) =>
  scenario(name, options, async (t) => {
    const socket = await t.socket();
    socket.send(typeof frame === 'function' ? frame(t) : frame);
    await t.calm(400);
  });

const says = (name, commands, options = {}) =>
  scenario(name, options, async (t) => {
    const socket = await t.connectedSocket();
    socket.say(...commands(t));
    await t.calm(400);
  });

const saysAtFirst = (name, commands, options = {}) =>
  scenario(name, options, async (t) => {
    const socket = await t.socket();
    socket.say(...commands(t));
    await t.calm(400);
  });

module.exports = [
  sends('wire-not-json', json, 'hello'),
  sends('wire-json-cut-short', json, '{"id":2,"subscribe":{"channel":"news:day"'),
  sends('wire-json-of-another-type', json, '{"id":"2","subscribe":{"channel":"news:day"}}'),
  sends('wire-json-array', json, '[{"id":2,"subscribe":{"channel":"news:day"}}]'),
  sends('wire-json-null', json, 'null'),
  sends('wire-json-number', json, '7'),
  sends('wire-json-negative-id', json, '{"id":-1,"presence":{"channel":"news:day"}}'),
  sends('wire-json-id-too-big', json, '{"id":4294967296,"presence":{"channel":"news:day"}}'),
  sends('wire-json-duplicate-key', json, '{"id":2,"id":3,"presence_stats":{"channel":"news:day"}}'),
  sends('wire-json-not-utf8', json, Buffer.from('{"id":2,"presence_stats":{"channel":"news:\xff"}}', 'latin1')),
  sends('wire-json-null-members', json, '{"id":2,"subscribe":null,"presence_stats":{"channel":"chat:room","x":null}}'),
  sends('wire-json-unknown-members', json, '{"id":2,"presence_stats":{"channel":"chat:room","colour":"red"},"extra":[1]}'),
  sends('wire-json-in-a-binary-frame', json, Buffer.from('{"id":2,"presence_stats":{"channel":"chat:room"}}')),
  sends('wire-trailing-newline', json, '{"id":2,"presence_stats":{"channel":"chat:room"}}\n'),
  sends('wire-two-trailing-newlines', json, '{"id":2,"presence_stats":{"channel":"chat:room"}}\n\n'),
  sends('wire-empty-line-between', json, '{"id":2,"presence_stats":{"channel":"chat:room"}}\n\n{"id":3,"presence_stats":{"channel":"chat:room"}}'),
  sends('wire-carriage-returns', json, '{"id":2,"presence_stats":{"channel":"chat:room"}}\r\n{"id":3,"presence_stats":{"channel":"chat:room"}}\r\n'),
  sends('wire-good-then-bad', json, '{"id":2,"presence_stats":{"channel":"chat:room"}}\nhello'),
  sends('wire-only-a-newline', json, '\n'),
  sends('wire-empty-text', json, ''),
  sendsAtFirst('wire-not-json-at-first', json, 'hello'),
  sendsAtFirst('wire-empty-text-at-first', json, ''),

  sends('wire-protobuf-cut-short', protobuf, Buffer.from('0e08022a0a0a06', 'hex')),
  sends('wire-protobuf-length-cut-short', protobuf, Buffer.from('80', 'hex')),
  sends('wire-protobuf-length-too-long', protobuf, Buffer.from('ffffffffffffffffffffff01', 'hex')),
  // Some servers make room for what is announced before they find out that it is not there.
  scenario('wire-protobuf-length-huge', protobuf, async (t) => {
    const socket = await t.connectedSocket();
    socket.send(Buffer.from('ffffffff070802', 'hex'));
    await socket.closed;
  }),
  sends('wire-protobuf-of-another-type', protobuf, Buffer.from('020a01', 'hex')),
  sends('wire-protobuf-unknown-field', protobuf, Buffer.from('1508024a0b0a09636861743a726f6f6d9a0603616263', 'hex')),
  sends('wire-protobuf-empty', protobuf, Buffer.alloc(0)),
  sends('wire-protobuf-in-a-text-frame', protobuf, Buffer.from('0f08024a0b0a09636861743a726f6f6d', 'hex').toString('latin1')),
  sendsAtFirst('wire-json-to-protobuf', protobuf, '{"id":1,"connect":{}}'),
  sendsAtFirst('wire-protobuf-cut-short-at-first', protobuf, Buffer.from('0808012202', 'hex')),

  sends('wire-frame-too-long', {}, (t) =>
    t.encoding === 'json'
      ? JSON.stringify({ id: 2, rpc: { method: 'backend:echo', data: 'x'.repeat(70_000) } })
      : Buffer.alloc(70_000)),

  says('wire-connect-again', () => [{ id: 2, connect: {} }]),
  says('wire-id-without-request', () => [{ id: 2 }]),
  says('wire-ping-request', () => [{ id: 2, ping: {} }]),
  says('wire-request-without-id', (t) => [{ presence_stats: { channel: t.channel('chat:room') } }]),
  says('wire-id-used-twice', (t) => [{ id: 1, unsubscribe: { channel: t.channel('chat:room') } }, { id: 1, unsubscribe: { channel: t.channel('chat:room') } }]),
  says('wire-biggest-id', (t) => [{ id: 4294967295, unsubscribe: { channel: t.channel('chat:room') } }]),
  says('wire-two-requests-in-one', (t) => [{ id: 2, subscribe: { channel: t.channel('news:day') }, unsubscribe: { channel: t.channel('news:day') } }]),
  says('wire-many-commands-in-one-frame', (t) => {
    const channel = t.channel('stream:prices');
    return [
      { id: 2, subscribe: { channel } },
      { id: 3, publish: { channel, data: { price: 1 } } },
      { id: 4, history: { channel, limit: 5 } },
      { id: 5, unsubscribe: { channel } },
      { id: 6, publish: { channel, data: { price: 2 } } },
      { id: 7, subscribe: { channel: t.channel('nowhere:day') } },
      { id: 8, rpc: { method: 'backend:echo', data: 1 } },
    ];
  }, { freeOrder: true }),
  says('wire-fatal-in-the-middle-of-a-frame', (t) => [
    { id: 2, unsubscribe: { channel: t.channel('chat:room') } },
    { id: 3, unsubscribe: {} },
    { id: 4, unsubscribe: { channel: t.channel('chat:room') } },
  ]),

  saysAtFirst('wire-command-before-connect', (t) => [{ id: 1, subscribe: { channel: t.channel('news:day') } }]),
  saysAtFirst('wire-connect-without-id', () => [{ connect: {} }]),
  saysAtFirst('wire-connect-and-more-in-one-frame', (t) => [
    { id: 1, connect: {} },
    { id: 2, subscribe: { channel: t.channel('news:day') } },
    { id: 3, presence_stats: { channel: t.channel('chat:room') } },
  ]),
  saysAtFirst('wire-refused-connect-and-more-in-one-frame', (t) => [
    { id: 1, connect: { token: t.token(t.user('alice'), { exp: t.now() - 10 }) } },
    { id: 2, subscribe: { channel: t.channel('news:day') } },
  ]),

  scenario('wire-more-after-a-refused-connect', async (t) => {
    const socket = await t.socket();
    socket.say({ id: 1, connect: { token: t.token(t.user('alice'), { exp: t.now() - 10 }) } });
    await socket.hears(1);
    socket.say({ id: 2, connect: { token: t.token(t.user('alice')) } });
    await socket.closed;
  }),

  scenario('wire-nothing-said', { server: 'quick' }, async (t) => {
    await (await t.socket()).closed;
  }),

  scenario('wire-nothing-said-after-a-refused-connect', { server: 'quick' }, async (t) => {
    const socket = await t.socket();
    socket.say({ id: 1, connect: { token: t.token(t.user('alice'), { exp: t.now() - 10 }) } });
    await socket.closed;
  }),

  scenario('wire-client-closes', async (t) => {
    const socket = await t.connectedSocket();
    socket.close(4001, 'enough');
    await socket.closed;
  }),
];
