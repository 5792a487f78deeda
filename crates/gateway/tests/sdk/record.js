#!/usr/bin/env node
// Plays every scenario against the reference server and writes what was said to recorded/; `record.js PART...`: only those with that in the name.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { allScenarios } = require('./scenarios.js');
const { play } = require('./stage.js');
const { asText } = require('./normalise.js');
const { referenceServers } = require('./servers.js');

// Elsewhere for a second recording, to be compared with the first.
const directory = process.env.RECORDED ?? path.join(__dirname, 'recorded');
// Those on one server at the same time: most of a scenario is waiting.
const atOnce = Number(process.env.AT_ONCE ?? 4);

async function main() {
  if (!process.env.CENTRIFUGO) throw new Error('CENTRIFUGO does not say where the binary of the reference server is');
  const wanted = process.argv.slice(2);
  const scenarios = allScenarios(wanted);
  for (const { name, needs } of scenarios) if (needs && !process.env[needs]) throw new Error(`${name} needs ${needs}`);
  const servers = await referenceServers();
  const jobs = scenarios.flatMap((scenario) => scenario.encodings.map((encoding) => ({ scenario, encoding })));
  const expected = new Set();
  let failed = 0;
  fs.mkdirSync(directory, { recursive: true });
  const worker = async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) {
      const { scenario, encoding } = job;
      const name = `${scenario.name}.${encoding}.json`;
      expected.add(name);
      try {
        fs.writeFileSync(path.join(directory, name), asText(await play(scenario, encoding, await servers.of(scenario.server))));
      } catch (error) {
        failed += 1;
        console.error(`${name}: ${error.message}`);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, worker));
  } finally {
    await servers.stop();
  }
  if (!wanted.length) for (const name of fs.readdirSync(directory)) if (!expected.has(name)) fs.rmSync(path.join(directory, name));
  console.log(`${expected.size - failed} recorded, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
