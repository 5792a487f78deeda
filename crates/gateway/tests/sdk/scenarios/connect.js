'use strict';
// Who may connect, and what the client learns about it.

const { scenario } = require('../scenarios.js');

module.exports = [
  scenario('connect-anonymous', async (t) => {
    await t.connected();
  }),

  scenario('connect-with-token', async (t) => {
    await t.connected('alice', { token: t.token(t.user('alice'), { info: { name: 'Alice' } }) });
  }),

  scenario('connect-with-token-that-never-expires', async (t) => {
    await t.connected('alice', { token: t.sign({ sub: t.user('alice') }) });
  }),

  scenario('connect-token-outlived-by-connection', async (t) => {
    await t.connected('alice', { token: t.token(t.user('alice'), { expire_at: 0 }) });
  }),

  scenario('connect-with-data-name-and-headers', async (t) => {
    await t.connected('client', { data: t.data({ from: 'the application' }), name: 'app', version: '1.2.3', headers: { 'x-trace': 'abc' } });
  }),

  scenario('connect-token-fetched-first', async (t) => {
    await t.connected('alice', { getToken: async () => t.token(t.user('alice')) });
  }),

  scenario('connect-expired-token-refreshed', async (t) => {
    await t.connected('alice', {
      token: t.token(t.user('alice'), { exp: t.now() - 10 }),
      getToken: async () => t.token(t.user('alice')),
    });
  }),

  scenario('connect-expired-token-without-another', async (t) => {
    t.client('alice', { token: t.token(t.user('alice'), { exp: t.now() - 10 }) }).connect();
    await t.sees('alice disconnected');
  }),

  scenario('connect-token-not-yet-valid', async (t) => {
    t.client('alice', { token: t.token(t.user('alice'), { nbf: t.now() + 600 }) }).connect();
    await t.sees('alice disconnected');
  }),

  scenario('connect-token-of-another-key', async (t) => {
    t.client('mallory', { token: t.token(t.user('alice'), {}, 'another key') }).connect();
    await t.sees('mallory disconnected');
  }),

  scenario('connect-token-without-signature', async (t) => {
    const [header, claims] = t.sign({ sub: t.user('alice') }, 'any', { alg: 'none', typ: 'JWT' }).split('.');
    t.client('mallory', { token: `${header}.${claims}.` }).connect();
    await t.sees('mallory disconnected');
  }),

  scenario('connect-token-that-is-none', async (t) => {
    t.client('mallory', { token: 'letmein' }).connect();
    await t.sees('mallory disconnected');
  }),

  scenario('connect-with-a-subscription-token', async (t) => {
    t.client('alice', { token: t.subscriptionToken(t.user('alice'), t.channel('news:day')) }).connect();
    await t.sees('alice disconnected');
  }),

  scenario('connect-with-token-of-nobody', async (t) => {
    await t.connected('nobody', { token: t.token('') });
  }),

  scenario('connect-nobody-refused', { server: 'strict' }, async (t) => {
    t.client().connect();
    await t.sees('client disconnected');
  }),

  scenario('connect-token-of-nobody-refused', { server: 'strict' }, async (t) => {
    t.client('nobody', { token: t.token('') }).connect();
    await t.sees('nobody disconnected');
  }),

  scenario('connect-too-many-of-one-user', { server: 'strict' }, async (t) => {
    const token = t.token(t.user('alice'));
    await t.connected('first', { token });
    t.client('second', { token }).connect();
    await t.sees('second disconnected');
  }),

  scenario('connect-by-backend', { server: 'asked' }, async (t) => {
    await t.connected('alice', { data: t.data({ user: t.user('alice') }) });
  }),

  scenario('connect-by-backend-with-channels', { server: 'asked' }, async (t) => {
    await t.connected('alice', { data: t.data({ user: t.user('alice'), channels: [t.channel('news:day')] }) });
    await t.api('publish', { channel: t.channel('news:day'), data: { headline: 1 } });
    await t.sees('alice publication');
  }),

  scenario('connect-by-backend-nobody', { server: 'asked' }, async (t) => {
    t.client('nobody', { data: t.data({}) }).connect();
    await t.sees('nobody disconnected');
  }),

  scenario('connect-by-backend-error', { server: 'asked' }, async (t) => {
    t.client('alice', { data: t.data({ refuse: 'error' }) }).connect();
    await t.sees('alice disconnected');
  }),

  scenario('connect-by-backend-disconnect', { server: 'asked' }, async (t) => {
    t.client('alice', { data: t.data({ refuse: 'disconnect' }) }).connect();
    await t.sees('alice disconnected');
  }),

  scenario('connect-by-backend-refreshed', { server: 'asked' }, async (t) => {
    await t.connected('alice', { data: t.data({ user: t.user('alice'), lasts: 1 }) });
    await t.calm(2500);
  }),

  scenario('connect-by-backend-not-refreshed', { server: 'asked' }, async (t) => {
    const client = await t.connected('leaving', { data: t.data({ user: t.user('leaving'), lasts: 1 }) });
    client.on('connecting', () => client.disconnect());
    await t.sees('leaving connecting', 2);
  }),

  scenario('connect-again-after-disconnect', async (t) => {
    const client = await t.connected();
    client.disconnect();
    await t.sees('client disconnected');
    await t.calm();
    client.connect();
    await t.sees('client connected', 2);
  }),

  scenario('connect-from-a-foreign-page', { encodings: ['json'] }, async (t) => {
    await t.socket({ origin: 'http://foreign.example' });
  }),

  scenario('connect-from-an-allowed-page', { encodings: ['json'] }, async (t) => {
    await t.connectedSocket({ origin: 'http://allowed.example' });
  }),

  scenario('subprotocol-unknown-and-json', { encodings: ['json'] }, async (t) => {
    await t.connectedSocket({ subprotocols: ['chat.v9', 'centrifuge-json', 'centrifuge-protobuf'] });
  }),

  scenario('subprotocol-protobuf-first', { encodings: ['protobuf'] }, async (t) => {
    await t.connectedSocket({ subprotocols: ['centrifuge-protobuf', 'centrifuge-json'] });
  }),

  scenario('protobuf-by-query', { encodings: ['protobuf'] }, async (t) => {
    await t.connectedSocket({ subprotocols: [], query: '?cf_protocol=protobuf' });
  }),

  scenario('protobuf-by-older-query', { encodings: ['protobuf'] }, async (t) => {
    await t.connectedSocket({ subprotocols: [], query: '?format=protobuf' });
  }),
];
