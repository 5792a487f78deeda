'use strict';
// A recording against what is said now: equal, different as intended, or different.
//
// Owns the meaning of differences.json, a list of entries: each has `scenarios` (names, `*` stands for any text, `.json` or `.protobuf` at the
// end for one encoding), a `reason`, and one of
//
// - `says`: [{ "instead of": LINE, "now": LINE or [LINE...] or null }]; a LINE is one entry of a conversation or of what the application saw;
// - `without`: names of members that neither side is compared in;
// - `in any order`: true, when the server may say the same at other times: not compared is when, and what the client has said by then;
// - `skipped`: true, when there is nothing to be compared yet; `until` says what has to be built first.
//
// Several entries may hold for a conversation. Invariant: one without which the conversation is equal too is reported, so the list stays true
// (but for `in any order`: what comes when is chance).

const fs = require('node:fs');
const path = require('node:path');
const { asText } = require('./normalise.js');

const recordedIn = path.join(__dirname, 'recorded');
const intended = () => JSON.parse(fs.readFileSync(path.join(__dirname, 'differences.json'), 'utf8'));

const kinds = ['says', 'without', 'in any order', 'skipped'];

function recordingOf(scenario, encoding, directory = recordedIn) {
  return JSON.parse(fs.readFileSync(path.join(directory, `${scenario.name}.${encoding}.json`), 'utf8'));
}

// --- which entries are for a conversation --------------------------------------------------------------------------------------------

function matches(pattern, scenario, encoding) {
  const [, name, only] = /^(.*?)(?:\.(json|protobuf))?$/.exec(pattern);
  if (only && only !== encoding) return false;
  const parts = name.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(scenario.name);
}

const isFor = ({ scenarios }, scenario, encoding) => scenarios.some((pattern) => matches(pattern, scenario, encoding));

/** Why a conversation is not to be compared yet; nothing when it is. */
function skipped(scenario, encoding, differences = intended()) {
  const waits = differences.filter((entry) => entry.skipped && isFor(entry, scenario, encoding)).map(({ until }) => until);
  return waits.length ? `until there is ${waits.join(' and ')}` : undefined;
}

// --- what an entry does to the two sides ---------------------------------------------------------------------------------------------

// The recording as this server should have said it.
function applySays(recording, says) {
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

function without(names, value) {
  if (Array.isArray(value)) return value.map((item) => without(names, item));
  if (!value || typeof value !== 'object') return value;
  const kept = Object.entries(value).filter(([name]) => !names.includes(name));
  return Object.fromEntries(kept.map(([name, item]) => [name, without(names, item)]));
}

const onLines = (recording, change) => ({
  ...recording,
  connections: recording.connections.map((one) => ({ ...one, conversation: change(one.conversation) })),
});

// What the client says, then what the server says, sorted.
function inAnyOrder(conversation) {
  const isOfServer = (line) => Object.keys(line)[0].startsWith('server');
  const text = (line) => JSON.stringify(line);
  return [...conversation.filter((line) => !isOfServer(line)), ...conversation.filter(isOfServer).sort((a, b) => (text(a) < text(b) ? -1 : 1))];
}

// What is left to tell between a recording and what is said now.
function differing(recording, now, entries) {
  const { changed, stale } = applySays(recording, entries.flatMap(({ says }) => says ?? []));
  let sides = [changed, now];
  const names = entries.flatMap((entry) => entry.without ?? []);
  if (names.length) sides = sides.map((side) => ({ ...onLines(side, (lines) => without(names, lines)), application: without(names, side.application) }));
  if (entries.some((entry) => entry['in any order'])) sides = sides.map((side) => onLines(side, inAnyOrder));
  // A comma at the end of a line says nothing.
  const [before, after] = sides.map((side) => asText(side).replace(/,$/gm, ''));
  return [...stale, ...differingLines(before, after)];
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
  const recording = recordingOf(scenario, encoding, directory);
  const all = differences.filter((entry) => isFor(entry, scenario, encoding));
  const entries = all.filter((entry) => !entry.skipped);
  const lines = differing(recording, now, entries);
  if (lines.length) return lines;
  const judged = entries.filter((entry) => !entry['in any order']);
  const idle = judged.filter((entry) => differing(recording, now, entries.filter((other) => other !== entry)).length === 0);
  return [...idle, ...all.filter((entry) => entry.skipped)].map(({ reason }) => `equal without this entry of differences.json, which is to go: ${reason}`);
}

/** What is wrong with differences.json itself. */
function mistakes(differences, scenarios) {
  return differences.flatMap((entry) => {
    const { scenarios: patterns = [], reason } = entry;
    const isOfOne = (pattern) => scenarios.some((one) => one.encodings.some((encoding) => matches(pattern, one, encoding)));
    return [
      ...(patterns.length ? [] : ['an entry is for no scenario']),
      ...patterns.filter((pattern) => !isOfOne(pattern)).map((pattern) => `${pattern} is no scenario`),
      ...(typeof reason === 'string' && reason.length > 10 ? [] : [`${patterns} has no reason`]),
      ...(kinds.filter((kind) => kind in entry).length === 1 ? [] : [`${patterns} does not say one thing`]),
      ...(entry.skipped && !entry.until ? [`${patterns} does not say until when`] : []),
    ];
  });
}

module.exports = { compare, skipped, mistakes, intended };
