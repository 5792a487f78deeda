'use strict';
// All scenarios, and what a scenario is: a name, the server it needs, the encodings it is told in, and its story.

const fs = require('node:fs');
const path = require('node:path');

/**
 * Options: `server`, a variant of reference.js; `encodings`; `pings`, whether pings and pongs belong to the story; `freeOrder`, when
 * the protocol leaves open what comes first, a reply or a push, or which channel: then the recording puts them in an order of its own.
 * `needs` is a variable of the environment without which it cannot be played.
 */
function scenario(name, ...optionsAndStory) {
  const story = optionsAndStory.pop();
  return { name, server: 'usual', encodings: ['json', 'protobuf'], pings: false, freeOrder: false, ...optionsAndStory[0], story };
}

/** Those whose name contains one of `wanted`; all without it. */
function allScenarios(wanted = []) {
  const directory = path.join(__dirname, 'scenarios');
  const all = fs.readdirSync(directory).sort().flatMap((file) => require(path.join(directory, file)));
  const names = new Set();
  for (const { name } of all) {
    if (names.has(name)) throw new Error(`two scenarios are called ${name}`);
    names.add(name);
  }
  return wanted.length ? all.filter(({ name }) => wanted.some((part) => name.includes(part))) : all;
}

module.exports = { scenario, allScenarios };
