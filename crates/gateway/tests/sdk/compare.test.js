'use strict';
// The judge judged: a planted change must be found, and the encoder and decoder must agree with known bytes.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { compare, skipped, mistakes } = require('./compare.js');
const { allScenarios } = require('./scenarios.js');
const wire = require('./wire.js');

const recorded = (name) => JSON.parse(fs.readFileSync(path.join(__dirname, 'recorded', `${name}.json.json`), 'utf8'));
const scenario = (name) => allScenarios().find((one) => one.name === name);

function planted(name, change) {
  const now = recorded(name);
  change(now);
  return now;
}

const refusal = ({ connections }) => connections[0].conversation.find(({ server }) => server?.error);

test('what was recorded is equal to itself', () => {
  for (const name of ['publish-and-hear-it', 'delta', 'wire-not-json']) assert.deepEqual(compare(scenario(name), 'json', recorded(name), { differences: [] }), []);
});

test('another error code is found', () => {
  const now = planted('subscribe-not-allowed', (one) => (refusal(one).server.error.code = 104));
  assert.equal(compare(scenario('subscribe-not-allowed'), 'json', now, { differences: [] }).length, 2);
});

test('another close code, a missing push and one too many are found', () => {
  const name = 'publish-and-hear-it';
  const says = (change) => compare(scenario(name), 'json', planted(name, change), { differences: [] }).length;
  assert.ok(says(({ connections }) => connections[0].conversation.pop()));
  assert.ok(says(({ connections }) => connections[0].conversation.push(connections[0].conversation.at(-1))));
  assert.ok(says(({ connections }) => connections[0].conversation.push({ 'server closes': [3501, 'bad request'] })));
  assert.ok(says(({ application }) => application.pop()));
  assert.ok(says(({ connections }) => (connections[0].subprotocol.chosen = 'centrifuge-json')));
});

// As `compare` says it, of a scenario that is planted with a change, with these entries.
const judged = (name, change, ...differences) =>
  compare(scenario(name), 'json', planted(name, change), { differences: differences.map((one) => ({ scenarios: [name], reason: 'for this test only', ...one })) });

const nothing = () => {};

test('what is said instead is intended, and told when it is not said any more', () => {
  const name = 'subscribe-not-allowed';
  const before = refusal(recorded(name));
  const other = { server: { ...before.server, error: { code: 101, message: 'unauthorized' } } };
  const change = (one) => (refusal(one).server.error = other.server.error);
  const says = { says: [{ 'instead of': before, now: other }] };
  assert.deepEqual(judged(name, change, says), []);
  assert.ok(judged(name, nothing, says).length);
  assert.ok(judged(name, nothing, { says: [{ 'instead of': { server: {} }, now: null }] }).length);
});

test('members that are not compared may differ, others may not', () => {
  const name = 'subscribe-with-positions-asked-for';
  const subscribed = (one) => one.connections[0].conversation.find(({ server }) => server?.subscribe).server.subscribe;
  const unpositioned = (one) => delete subscribed(one).epoch;
  assert.deepEqual(judged(name, unpositioned, { without: ['epoch'] }), []);
  assert.ok(judged(name, unpositioned).length);
  assert.ok(judged(name, (one) => (subscribed(one).expires = true), { without: ['epoch'] }).length);
  assert.match(judged(name, nothing, { without: ['epoch'] })[0], /which is to go/);
});

test('the order of what the server says may differ, but not what is said', () => {
  const name = 'wire-connect-and-more-in-one-frame';
  const said = (one) => one.connections[0].conversation;
  const swapped = (one) => said(one).splice(-2, 2, ...said(one).slice(-2).reverse());
  assert.ok(judged(name, swapped).length);
  assert.deepEqual(judged(name, swapped, { 'in any order': true }), []);
  assert.ok(judged(name, (one) => said(one).pop(), { 'in any order': true }).length);
  assert.deepEqual(judged(name, nothing, { 'in any order': true }), []);
});

test('what is skipped says until when, and is told when it is equal', () => {
  const entry = { scenarios: ['rpc*.json'], reason: 'for this test only', skipped: true, until: 'a backend' };
  assert.equal(skipped(scenario('rpc-refused'), 'json', [entry]), 'until there is a backend');
  assert.equal(skipped(scenario('rpc-refused'), 'protobuf', [entry]), undefined);
  assert.equal(skipped(scenario('subscribe'), 'json', [entry]), undefined);
  assert.match(judged('rpc', nothing, { skipped: true, until: 'a backend' })[0], /which is to go/);
  assert.ok(judged('rpc', (one) => one.application.pop(), { skipped: true, until: 'a backend' }).every((line) => !/which is to go/.test(line)));
});

test('an entry without a scenario, a reason or one meaning is a mistake', () => {
  const whole = { scenarios: ['unsubscribe'], reason: 'a reason that is long', without: ['epoch'] };
  const found = (change) => mistakes([{ ...whole, ...change }], allScenarios()).length;
  assert.equal(found({}), 0);
  for (const change of [{ scenarios: [] }, { scenarios: ['nonsense'] }, { reason: '' }, { says: [] }, { without: undefined, skipped: true }]) assert.ok(found(change), JSON.stringify(change));
});

test('every scenario is recorded, and every recording has a scenario', () => {
  const wanted = allScenarios().flatMap(({ name, encodings }) => encodings.map((encoding) => `${name}.${encoding}.json`)).sort();
  assert.deepEqual(fs.readdirSync(path.join(__dirname, 'recorded')).sort(), wanted);
});

test('commands are encoded as the SDKs do, and decoded again', () => {
  for (const [hex, command] of [
    ['080801220422026a73', { id: 1, connect: { name: 'js' } }],
    ['0e08022a0a0a06726f6f6d3a317001', { id: 2, subscribe: { channel: 'room:1', flag: 1 } }],
    ['1508033a110a06726f6f6d3a3112077b2261223a317d', { id: 3, publish: { channel: 'room:1', data: { a: 1 } } }],
  ]) {
    assert.equal(wire.encode('protobuf', [command]).toString('hex'), hex);
    assert.deepEqual(wire.decode('protobuf', Buffer.from(hex, 'hex'), wire.command), [command]);
  }
  const push = Buffer.from('1722151206726f6f6d3a31220b22077b2261223a317d3004', 'hex');
  assert.deepEqual(wire.decode('protobuf', push, wire.reply), [{ push: { channel: 'room:1', pub: { data: { a: 1 }, offset: 4 } } }]);
  assert.throws(() => wire.decode('protobuf', push.subarray(0, 9), wire.reply));
});
