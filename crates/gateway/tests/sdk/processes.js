'use strict';
// Programs that run beside the tests: started here, and ended with them, however they end.
//
// Knows no program. Invariant: when this process is gone, whatever the reason, so are those it started and their directories. Its own last
// words cannot be relied on for that (it may be killed), so a shell that waits for the end of a pipe from here does it.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

// Lines of "+PID DIRECTORY" and "-PID DIRECTORY": what there is to be ended. The pipe ends when this process does.
const undertaker = `
running=
while read -r line; do
  case $line in
    +*) running="$running \${line#+}" ;;
    -*) running=$(printf %s "$running" | sed "s|  *\${line#-}||") ;;
  esac
done
set -- $running
while [ $# -ge 2 ]; do kill -KILL "$1" 2>/dev/null; rm -rf "$2"; shift 2; done
`;

let heirs;
function bequeath(line) {
  if (!heirs) {
    // In a group of its own, or an interrupt from the terminal would end it first.
    heirs = spawn('/bin/sh', ['-c', undertaker], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    heirs.stdin.on('error', () => {});
    heirs.stdin.unref?.();
    heirs.unref();
    // Whoever read what is said here is gone, so nobody wants to know any more.
    process.stdout.on('error', () => process.exit(1));
  }
  heirs.stdin.write(`${line}\n`);
}

/**
 * Starts a program in a new directory. `files`: what is in it, by name. Gives `{ child, directory, output(), ended, end(signal) }`; `ended`
 * is a promise, and `end` waits for it. Only `settings` and what every program needs is in its environment.
 */
function start(command, args, { name = path.basename(command), files = {}, settings = {} } = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), `${name}-`));
  for (const [file, text] of Object.entries(files)) fs.writeFileSync(path.join(directory, file), text);
  const { PATH, HOME, LANG } = process.env;
  const env = { PATH: `${PATH}:/usr/sbin:/sbin`, HOME, LANG, ...settings };
  const child = spawn(command, args.map(String), { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (output += bytes));
  const ended = new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', (error) => {
      output += error;
      resolve();
    });
  });
  if (child.pid) bequeath(`+${child.pid} ${directory}`);
  const isOver = () => child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  const end = async (signal = 'SIGKILL') => {
    if (!isOver()) child.kill(signal);
    await ended;
  };
  const stop = async () => {
    await end();
    fs.rmSync(directory, { recursive: true, force: true });
    if (child.pid) bequeath(`-${child.pid} ${directory}`);
  };
  return { name, child, directory, output: () => output, isOver, ended, end, stop };
}

/** Waits until `asked` gives something true, which is returned; `what` is said when it does not, or when the program has ended. */
async function until(what, asked, program, patience = 20_000) {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await asked();
    if (answer) return answer;
    if (program?.isOver()) throw new Error(`${program.name} ended before ${what}: ${program.output()}`);
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}${program ? `; ${program.name} says: ${program.output()}` : ''}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whether a GET of this address is answered with 200. */
const isWell = (url) => fetch(url).then((response) => response.body?.cancel().then(() => response.status === 200) ?? response.status === 200, () => false);

module.exports = { start, until, isWell };
