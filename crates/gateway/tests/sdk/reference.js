'use strict';
// Starts and stops the server whose conversations are recorded: a Centrifugo v6 binary, found by the environment variable CENTRIFUGO.
//
// Owns its configuration. Every kind of server that a scenario may ask for is one variant here, and differs from `usual` in a few
// settings; another server that is to be compared must be given the same rules.

const net = require('node:net');
const path = require('node:path');
const { start, until, isWell } = require('./processes.js');

const secret = 'the secret of the connection and subscription tokens';
const apiKey = 'the key of the server API';

const anybody = {
  allow_subscribe_for_client: true,
  allow_subscribe_for_anonymous: true,
};
const everything = {
  ...anybody,
  allow_publish_for_subscriber: true,
  allow_presence_for_subscriber: true,
  allow_history_for_subscriber: true,
  allow_publish_for_anonymous: true,
  allow_presence_for_anonymous: true,
  allow_history_for_anonymous: true,
};
const kept = { history_size: 5, history_ttl: '300s' };

const namespaces = [
  // Subscribe and nothing else.
  { name: 'news', ...anybody },
  // All that a chat needs; joins and leaves for those who ask.
  { name: 'chat', ...everything, ...kept, presence: true, join_leave: true, allow_recovery: true, allow_positioning: true, allow_user_limited_channels: true },
  // Everybody hears joins and leaves.
  { name: 'lobby', ...everything, presence: true, join_leave: true, force_push_join_leave: true },
  // Recovery for everybody, five publications at most.
  { name: 'stream', ...everything, ...kept, force_recovery: true, allow_publish_for_client: true },
  { name: 'watched', ...everything, ...kept, force_positioning: true },
  { name: 'cache', ...everything, history_size: 1, history_ttl: '300s', force_recovery: true, force_recovery_mode: 'cache' },
  { name: 'delta', ...everything, ...kept, force_recovery: true, allowed_delta_types: ['fossil'], delta_publish: true },
  { name: 'tagged', ...everything, allow_tags_filter: true },
  // Subscribing needs a token.
  { name: 'closed', ...kept, force_recovery: true },
  // The backend decides.
  { name: 'asked', subscribe_proxy_enabled: true },
  { name: 'checked', ...anybody, publish_proxy_enabled: true },
];

const variants = {
  // Anonymous clients are welcome, nothing expires quickly, no ping within a scenario.
  usual: {},
  // Nobody without a token, one connection for each user, few channels.
  strict: { client: { allow_anonymous_connect_without_token: false, disallow_anonymous_connection_tokens: true, user_connection_limit: 1, channel_limit: 3 } },
  // Pings every second, and no patience.
  quick: { client: { ping_interval: '1s', pong_timeout: '900ms', stale_close_delay: '500ms', expired_close_delay: '1s', expired_sub_close_delay: '1s', presence_update_interval: '1s' } },
  // The backend decides who connects.
  asked: { client: { allow_anonymous_connect_without_token: false, expired_close_delay: '1s' }, connectProxy: true },
};

function configuration(variant, port, backendUrl) {
  const { client = {}, connectProxy = false } = variants[variant];
  const { ping_interval = '25s', pong_timeout = '8s', ...rest } = client;
  const proxy = (event) => ({ endpoint: `${backendUrl}/${event}`, timeout: '3s' });
  return {
    http_server: { address: '127.0.0.1', port: String(port) },
    log: { level: 'error' },
    usage_stats: { disabled: true },
    health: { enabled: true },
    http_api: { key: apiKey },
    client: {
      allowed_origins: ['http://allowed.example'],
      token: { hmac_secret_key: secret },
      allow_anonymous_connect_without_token: true,
      ping_interval,
      pong_timeout,
      ...rest,
      proxy: {
        connect: { enabled: connectProxy, ...proxy('connect') },
        refresh: { enabled: connectProxy, ...proxy('refresh') },
      },
    },
    channel: {
      without_namespace: { ...anybody },
      namespaces,
      proxy: { subscribe: proxy('subscribe'), publish: proxy('publish') },
    },
    rpc: { proxy: proxy('rpc'), namespaces: [{ name: 'backend', proxy_enabled: true }] },
  };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Starts a variant; `backendUrl` is where it asks. Gives where it listens, and how to stop it. */
async function startReference(variant, backendUrl) {
  const binary = process.env.CENTRIFUGO;
  if (!binary) throw new Error('CENTRIFUGO does not say where the binary of the reference server is');
  const port = await freePort();
  const file = JSON.stringify(configuration(variant, port, backendUrl), null, 2);
  const program = start(path.resolve(binary), ['--config', 'config.json'], { name: 'reference', files: { 'config.json': file } });
  const at = `127.0.0.1:${port}`;
  await until('the reference server answers', () => isWell(`http://${at}/health`), program);
  return { ws: `ws://${at}/connection/websocket`, api: `http://${at}/api`, stop: program.stop };
}

module.exports = { startReference, variants: Object.keys(variants), secret, apiKey };
