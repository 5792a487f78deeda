'use strict';
// Every scenario again, against Fanfare, the reference (CENTRIFUGO) or the servers in the environment (see servers.js); compared with its
// recording.
//
// Half of the scenarios wait for timers, so some are played at the same time. `ALL=1` plays those too that wait for something to be built.

const { test, after } = require('node:test');
const assert = require('node:assert/strict');
const { allScenarios } = require('./scenarios.js');
const { play } = require('./stage.js');
const { compare, skipped, mistakes, intended } = require('./compare.js');
const { referenceServers, fanfareServers, givenServers, areGiven } = require('./servers.js');

const scenarios = allScenarios(process.env.ONLY ? process.env.ONLY.split(',') : []);
const isReference = Boolean(process.env.CENTRIFUGO) && !areGiven();
// The reference has no intended differences from itself.
const differences = isReference ? [] : intended();

let servers;
const started = () => (areGiven() ? givenServers() : isReference ? referenceServers() : fanfareServers());
const theServers = () => (servers ??= started());

after(async () => (await servers)?.stop());

test('every intended difference is of a scenario and has a reason', () => {
  assert.deepEqual(mistakes(intended(), allScenarios()), []);
});

test('conversations', { concurrency: Number(process.env.AT_ONCE ?? 16) }, async (t) => {
  const played = scenarios.flatMap((scenario) =>
    scenario.encodings.map((encoding) =>
      t.test(`${scenario.name}, ${encoding}`, async (t) => {
        const wait = skipped(scenario, encoding, differences);
        if (wait && !process.env.ALL) return t.skip(wait);
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
