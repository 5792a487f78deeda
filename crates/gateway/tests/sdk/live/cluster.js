#!/usr/bin/env node
'use strict';
// Two Fanfare processes on one real redis-server, and HAProxy in front of them with the file that is shipped.
//
// Owns their settings. As a program, `cluster.js COMMAND...` runs a command beside such a pair, which it finds by FANFARE_A and FANFARE_B.

const { spawn } = require('node:child_process');
const net = require('node:net');
const path = require('node:path');
const { start, until } = require('../processes.js');
const { startFanfare, toml } = require('../fanfare.js');
const { secret, apiKey } = require('../reference.js');

const everything = { subscribe: 'anyone', publish: 'subscribers' };

// A key that may ask and not act.
const askingKey = 'the key of those who only ask';

const channels = [
  { match: 'open:*', ...everything },
  { match: 'free:*', ...everything, publish: 'anyone' },
  { match: 'news:*', subscribe: 'anyone' },
  { match: 'room:*', ...everything, presence: true, join_leave: true },
  { match: 'lobby:*', ...everything, join_leave: true, force_push_join_leave: true },
  { match: '{members,$private}:*', subscribe: 'token', publish: 'token' },
  { match: 'dialog:*', ...everything, user_limited: true },
  { match: 'small:*', ...everything, message_size: '64B' },
  { match: 'slow:*', ...everything, publish_rate: 2 },
  { match: 'tagged:*', ...everything, tags_filter: true },
  { match: 'delta:*', ...everything, delta: true },
  { match: 'nobody:*' },
];

const settings = {
  listener: { address: '127.0.0.1', port: 0 },
  admin: { address: '127.0.0.1:0', api_key: apiKey },
  raw: { channel: '' },
  tokens: { hmac_secret: secret, require_exp: false },
  centrifuge: {
    transports: ['websocket', 'http_stream', 'sse', 'uni_websocket', 'uni_http_stream', 'uni_sse'],
    anonymous: true, channels: 1100, ping_interval: '2s', pong_timeout: '1500ms', refresh_grace: '3s', pending_commands: 4096,
  },
  // A thousand subscriptions in JSON are more than the default.
  limits: { message_size: '256KiB' },
  'api.keys': [{ name: 'asking', key: askingKey, calls: ['presence', 'presence_stats', 'channels', 'info', 'batch'] }],
  drain: { delay: '200ms', window: '500ms', timeout: '3s' },
  log: { format: 'json' },
  channels,
};

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const accepts = (port) =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });

/** A redis-server without a file of its own; `port` is where one was before. */
async function startRedis(port) {
  const at = port ?? (await freePort());
  const redis = start('redis-server', ['--bind', '127.0.0.1', '--port', at, '--save', '', '--appendonly', 'no']);
  await until('Redis answers', () => accepts(at), redis);
  return { ...redis, port: at };
}

/** Starts the pair. Gives `{ a, b, redis, ... }`; each node has `ws`, `http`, `raw(channel)` and `program`. */
async function startCluster() {
  const cluster = { redis: await startRedis(), parts: [] };
  const node = async (name) => {
    const one = await startFanfare(toml(settings), { REDIS_URL: `redis://127.0.0.1:${cluster.redis.port}`, FANFARE__NODE__NAME: name });
    cluster.parts.push(one);
    return { ...one, name, http: `http://127.0.0.1:${one.port}`, raw: (channel) => `ws://127.0.0.1:${one.port}/raw/${encodeURIComponent(channel)}` };
  };
  [cluster.a, cluster.b] = await Promise.all([node('a'), node('b')]);

  /** HAProxy in front of both. Gives where it listens. */
  cluster.balance = async () => {
    const port = await freePort();
    const file = path.resolve(__dirname, '../../../../../deploy/haproxy.cfg');
    const haproxy = start('haproxy', ['-f', file], {
      settings: {
        FANFARE_LISTEN: `127.0.0.1:${port}`,
        FANFARE_A: `127.0.0.1:${cluster.a.port}`, FANFARE_A_ADMIN: String(cluster.a.adminPort),
        FANFARE_B: `127.0.0.1:${cluster.b.port}`, FANFARE_B_ADMIN: String(cluster.b.adminPort),
      },
    });
    cluster.parts.push(haproxy);
    await until('HAProxy listens', () => accepts(port), haproxy);
    return `ws://127.0.0.1:${port}/connection/websocket`;
  };
  cluster.killRedis = () => cluster.redis.stop();
  cluster.restartRedis = async () => {
    cluster.redis = await startRedis(cluster.redis.port);
  };
  cluster.stop = () => Promise.all([...cluster.parts.map((part) => part.stop()), cluster.redis.stop()]);
  return cluster;
}

async function main([command, ...args]) {
  const cluster = await startCluster();
  try {
    const env = { ...process.env, FANFARE_A: cluster.a.ws, FANFARE_B: cluster.b.ws, FANFARE_API_A: cluster.a.api, FANFARE_API_B: cluster.b.api, FANFARE_API_KEY: apiKey, FANFARE_SECRET: secret };
    const child = spawn(command, args, { env, stdio: 'inherit' });
    process.exitCode = await new Promise((resolve) => {
      child.once('exit', (status) => resolve(status ?? 1));
      child.once('error', () => resolve(1));
    });
  } finally {
    await cluster.stop();
  }
}

if (require.main === module) main(process.argv.slice(2));

module.exports = { startCluster, askingKey };
