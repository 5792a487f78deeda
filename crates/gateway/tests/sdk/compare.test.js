'use strict';
// The judge judged: a planted change must be found, and the encoder and decoder must agree with known bytes.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { compare, mistakes } = require('./compare.js');
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
  for (const name of ['publish-and-hear-it', 'delta', 'wire-not-json']) assert.deepEqual(compare(scenario(name), 'json', recorded(name), { differences: {} }), []);
});

test('another error code is found', () => {
  const now = planted('subscribe-not-allowed', (one) => (refusal(one).server.error.code = 104));
  assert.equal(compare(scenario('subscribe-not-allowed'), 'json', now, { differences: {} }).length, 2);
});

test('another close code, a missing push and one too many are found', () => {
  const name = 'publish-and-hear-it';
  const says = (change) => compare(scenario(name), 'json', planted(name, change), { differences: {} }).length;
  assert.ok(says(({ connections }) => connections[0].conversation.pop()));
  assert.ok(says(({ connections }) => connections[0].conversation.push(connections[0].conversation.at(-1))));
  assert.ok(says(({ connections }) => connections[0].conversation.push({ 'server closes': [3501, 'bad request'] })));
  assert.ok(says(({ application }) => application.pop()));
  assert.ok(says(({ connections }) => (connections[0].subprotocol.chosen = 'centrifuge-json')));
});

test('an intended difference is not one, and one that is gone is told', () => {
  const name = 'subscribe-not-allowed';
  const before = refusal(recorded(name));
  const other = { server: { ...before.server, error: { code: 101, message: 'unauthorized' } } };
  const now = planted(name, (one) => (refusal(one).server.error = other.server.error));
  const differences = { [name]: { reason: 'for this test only', says: [{ 'instead of': before, now: other }] } };
  assert.deepEqual(compare(scenario(name), 'json', now, { differences }), []);
  assert.ok(compare(scenario(name), 'json', recorded(name), { differences }).length);
  const gone = { [name]: { reason: 'for this test only', says: [{ 'instead of': { server: {} }, now: null }] } };
  assert.ok(compare(scenario(name), 'json', recorded(name), { differences: gone }).length);
});

test('a difference without a scenario or a reason is a mistake', () => {
  assert.equal(mistakes({ nonsense: { reason: 'a reason that is long', says: [{}] }, unsubscribe: { says: [] } }, allScenarios()).length, 3);
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
