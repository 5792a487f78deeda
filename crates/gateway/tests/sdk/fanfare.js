'use strict';
// Starts Fanfare with the rules of the reference: the same variants, as far as Fanfare's settings can say them.
//
// Owns its configuration. The binary is FANFARE, or what `cargo build` made.

const fs = require('node:fs');
const path = require('node:path');
const { start, until, isWell } = require('./processes.js');
const { secret, apiKey } = require('./reference.js');

const target = path.resolve(__dirname, '../../../..', process.env.CARGO_TARGET_DIR ?? 'target');
const binary = path.resolve(process.env.FANFARE ?? path.join(target, 'debug/fanfare'));

const anybody = { subscribe: 'anyone' };
const everything = { ...anybody, publish: 'subscribers' };

// By the names of the reference's namespaces. A name with a `$` in front is of its namespace too.
const rules = {
  news: anybody,
  chat: { ...everything, presence: true, join_leave: true, user_limited: true },
  lobby: { ...everything, presence: true, join_leave: true, force_push_join_leave: true },
  stream: { ...everything, publish: 'anyone' },
  watched: everything,
  cache: everything,
  delta: { ...everything, delta: true },
  tagged: { ...everything, tags_filter: true },
  closed: { subscribe: 'token' },
  asked: { subscribe: 'backend' },
  checked: { ...anybody, publish: 'backend' },
};
const channels = [
  ...Object.entries(rules).map(([namespace, rule]) => ({ match: `{${namespace},$${namespace}}:*`, ...rule })),
  // What is of no namespace.
  { match: 'day*', ...anybody },
];

const variants = {
  usual: { anonymous: true },
  strict: { channels: 3 },
  quick: { anonymous: true, ping_interval: '1s', pong_timeout: '900ms', connect_timeout: '500ms', refresh_grace: '1s' },
  asked: { refresh_grace: '1s' },
};

// The limits that are not of the protocol.
const limits = { strict: { connections_per_user: 1 } };

// Tables and lists of tables; a value is written in TOML as in JSON.
function toml(document) {
  const lines = (table) => Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return Object.entries(document)
    .flatMap(([name, value]) => (Array.isArray(value) ? value.map((one) => [`[[${name}]]`, one]) : [[`[${name}]`, value]]))
    .flatMap(([head, table]) => [head, ...lines(table), ''])
    .join('\n');
}

/** The settings of a variant, as a TOML file. `backendUrl` is where it asks. */
function settingsOf(variant, backendUrl) {
  const asked = ['subscribe', 'publish', 'rpc', ...(variant === 'asked' ? ['connect', 'refresh'] : [])];
  return toml({
    listener: { address: '127.0.0.1', port: 0, allowed_origins: ['http://allowed.example'] },
    admin: { address: '127.0.0.1:0', api_key: apiKey },
    raw: { channel: '' },
    tokens: { hmac_secret: secret, require_exp: false },
    log: { format: 'json', filter: 'info,gateway=debug' },
    centrifuge: variants[variant],
    limits: limits[variant] ?? {},
    // Scenarios in which it fails are played at the same time as others.
    backend: { ...Object.fromEntries(asked.map((event) => [event, `${backendUrl}/${event}`])), timeout: '3s', breaker_failures: 0 },
    channels,
  });
}

/** Starts Fanfare with a file of settings and more of them from the environment. Resolves when it is ready. */
async function startFanfare(file, settings = {}) {
  if (!fs.existsSync(binary)) throw new Error(`there is no ${binary}: cargo build -p fanfare-gateway`);
  const program = start(binary, ['--config', 'fanfare.toml'], { name: 'fanfare', files: { 'fanfare.toml': file }, settings });
  const portOf = (message, field) => program.output().match(new RegExp(`${message}.*"${field}":"[^"]*:(\\d+)"`))?.[1];
  const ports = () => [portOf('clients are accepted', 'public'), portOf('the admin listener answers', 'admin')];
  const [port, adminPort] = await until('Fanfare listens', () => ports().every(Boolean) && ports(), program);
  const admin = `http://127.0.0.1:${adminPort}`;
  await until('Fanfare is ready', () => isWell(`${admin}/readyz`), program);
  return { ws: `ws://127.0.0.1:${port}/connection/websocket`, api: `${admin}/api`, admin, port, adminPort, program, stop: program.stop };
}

/** Starts a variant; gives where it listens, and how to stop it. */
const startVariant = (variant, backendUrl) => startFanfare(settingsOf(variant, backendUrl));

module.exports = { startFanfare, startVariant, toml };
