'use strict';
// Starts and stops the server whose conversations are recorded: a Centrifugo v6 binary, found by the environment variable CENTRIFUGO.
//
// Owns its configuration. Every kind of server that a scenario may ask for is one variant here, and differs from `usual` in a few
// settings; another server that is to be compared must be given the same rules.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

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
  quick: { client: { ping_interval: '1s', pong_timeout: '500ms', stale_close_delay: '500ms', expired_close_delay: '1s', expired_sub_close_delay: '1s', presence_update_interval: '1s' } },
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

async function answers(url, process_, said) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    if (process_.exitCode !== null) throw new Error(`the reference server ended with status ${process_.exitCode}: ${said()}`);
    const status = await fetch(url).then((response) => response.status, () => 0);
    if (status === 200) return;
    if (Date.now() > deadline) throw new Error(`the reference server does not answer: ${said()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Starts a variant; `backendUrl` is where it asks. Gives where it listens, and how to stop it. */
async function startReference(variant, backendUrl) {
  const binary = process.env.CENTRIFUGO;
  if (!binary) throw new Error('CENTRIFUGO does not say where the binary of the reference server is');
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'reference-'));
  const port = await freePort();
  const file = path.join(directory, 'config.json');
  fs.writeFileSync(file, JSON.stringify(configuration(variant, port, backendUrl), null, 2));
  const server = spawn(binary, ['--config', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  server.stdout.on('data', (data) => (output += data));
  server.stderr.on('data', (data) => (output += data));
  const ended = new Promise((resolve) => server.once('exit', resolve));
  const stop = async () => {
    server.kill('SIGKILL');
    await ended;
    fs.rmSync(directory, { recursive: true, force: true });
  };
  try {
    await answers(`http://127.0.0.1:${port}/health`, server, () => output);
  } catch (error) {
    await stop();
    throw error;
  }
  return { ws: `ws://127.0.0.1:${port}/connection/websocket`, api: `http://127.0.0.1:${port}/api`, output: () => output, stop };
}

module.exports = { startReference, variants: Object.keys(variants), secret, apiKey };
