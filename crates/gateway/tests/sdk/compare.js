'use strict';
// A recording against what is said now: equal, different as intended, or different.
//
// An intended difference is an entry in differences.json under the scenario's name, or that and `.json` or `.protobuf` for one encoding:
// `{ "reason": "...", "says": [{ "instead of": LINE, "now": LINE }] }`. Each LINE is one entry of a conversation or of what the
// application saw, as in a recording, or null for none. A difference that is not found any more is reported too, so the list stays true.

const fs = require('node:fs');
const path = require('node:path');
const { asText } = require('./normalise.js');

const recordedIn = path.join(__dirname, 'recorded');
const intended = () => JSON.parse(fs.readFileSync(path.join(__dirname, 'differences.json'), 'utf8'));

function recordingOf(scenario, encoding, directory = recordedIn) {
  return JSON.parse(fs.readFileSync(path.join(directory, `${scenario.name}.${encoding}.json`), 'utf8'));
}

// The recording as this server should have said it.
function applyDifferences(recording, says) {
  const changed = structuredClone(recording);
  const lists = [...changed.connections.map(({ conversation }) => conversation), changed.application];
  const stale = [];
  for (const { 'instead of': before, now } of says) {
    const text = JSON.stringify(before);
    const list = lists.find((items) => items.some((item) => JSON.stringify(item) === text));
    if (!list) {
      stale.push(`nothing in the recording is ${text} any more`);
      continue;
    }
    const at = list.findIndex((item) => JSON.stringify(item) === text);
    list.splice(at, 1, ...(now === null ? [] : [].concat(now)));
  }
  return { changed, stale };
}

/** The lines in which two recordings differ, as `- line` and `+ line`; empty when they are equal. */
function differingLines(before, now) {
  const a = before.split('\n');
  const b = now.split('\n');
  // Longest common subsequence; recordings are short.
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const lines = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) {
      lines.push(`- ${a[i++].trim()}`);
    } else {
      lines.push(`+ ${b[j++].trim()}`);
    }
  }
  return lines;
}

/** What is wrong with `now`, a recording, as lines; empty when it is as recorded and intended. */
function compare(scenario, encoding, now, { directory, differences = intended() } = {}) {
  const difference = differences[`${scenario.name}.${encoding}`] ?? differences[scenario.name];
  const { changed, stale } = applyDifferences(recordingOf(scenario, encoding, directory), difference?.says ?? []);
  // A comma at the end of a line says nothing.
  const plain = (recording) => asText(recording).replace(/,$/gm, '');
  return [...stale, ...differingLines(plain(changed), plain(now))];
}

/** What is wrong with differences.json itself. */
function mistakes(differences, scenarios) {
  const names = new Set(scenarios.flatMap(({ name, encodings }) => [name, ...encodings.map((encoding) => `${name}.${encoding}`)]));
  return Object.entries(differences).flatMap(([name, { reason, says }]) => [
    ...(names.has(name) ? [] : [`${name} is no scenario`]),
    ...(typeof reason === 'string' && reason.length > 10 ? [] : [`${name} has no reason`]),
    ...(Array.isArray(says) && says.length ? [] : [`${name} says nothing else`]),
  ]);
}

module.exports = { compare, mistakes, intended };
