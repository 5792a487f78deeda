'use strict';
// Every scenario again, against the servers given in the environment (see servers.js), or else the reference; compared with its recording.
//
// With neither a server nor the reference's binary, nothing is played, and the tests say so. Half of the scenarios wait for timers, so
// some are played at the same time.

const { test, after } = require('node:test');
const assert = require('node:assert/strict');
const { allScenarios } = require('./scenarios.js');
const { play } = require('./stage.js');
const { compare, mistakes, intended } = require('./compare.js');
const { referenceServers, givenServers, areGiven } = require('./servers.js');

const scenarios = allScenarios(process.env.ONLY ? process.env.ONLY.split(',') : []);
const reason = !areGiven() && !process.env.CENTRIFUGO && 'no server is given, and no reference';
// The reference has no intended differences from itself.
const differences = areGiven() ? intended() : {};

let servers;
const theServers = () => (servers ??= areGiven() ? givenServers() : referenceServers());

after(async () => (await servers)?.stop());

test('every intended difference is of a scenario and has a reason', () => {
  assert.deepEqual(mistakes(intended(), allScenarios()), []);
});

test('conversations', { concurrency: Number(process.env.AT_ONCE ?? 4), skip: reason }, async (t) => {
  const played = scenarios.flatMap((scenario) =>
    scenario.encodings.map((encoding) =>
      t.test(`${scenario.name}, ${encoding}`, async (t) => {
        if (scenario.needs && !process.env[scenario.needs]) return t.skip(`${scenario.needs} is not given`);
        const server = await (await theServers()).of(scenario.server);
        if (!server) return t.skip(`no server ${scenario.server} is given`);
        let failure = '';
        const said = await play(scenario, encoding, server).catch((error) => {
          if (!error.recording) throw error;
          failure = error.message.replace(/;.*/s, '\n');
          return error.recording;
        });
        const lines = compare(scenario, encoding, said, { differences });
        assert.ok(!failure && lines.length === 0, `${failure}not as recorded:\n${lines.join('\n')}`);
      }),
    ),
  );
  await Promise.all(played);
});
