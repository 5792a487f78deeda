// Starts the real parts that a test needs, each on a free loopback port and in a directory of its own, and ends them.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../../..");
const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target");
const binary = process.env.FANFARE ?? path.join(target, "debug/fanfare");
const PATIENCE = 15_000;

/** A deadline for whatever a test waits for; `what` is said when it passes. */
export async function within(what, promise, limit = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not within ${limit} ms: ${what}`)), limit); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}

/** Asks again and again until the answer is true. */
export async function until(what, ask, limit = PATIENCE) {
  for (const end = Date.now() + limit; Date.now() < end;) {
    if (await ask()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within ${limit} ms: ${what}`);
}

export class Cluster {
  #directory = mkdtempSync(path.join(tmpdir(), "fanfare-browser-"));
  #parts = [];

  async redis() {
    const port = await freePort();
    this.#start("redis-server", ["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", this.#directory], {});
    await until("Redis answers", () => answers(port));
    return `redis://127.0.0.1:${port}`;
  }

  /** Resolves when clients are accepted. `port` 0 takes a free one. */
  async gateway(name, redisUrl, port = 0, settings = {}) {
    const part = this.#start(binary, ["--dev"], {
      PORT: String(port), REDIS_URL: redisUrl, FANFARE__NODE__NAME: name, FANFARE__LOG__FORMAT: "json",
      FANFARE__LISTENER__ADDRESS: "127.0.0.1", FANFARE__ADMIN__ADDRESS: "127.0.0.1:0",
      FANFARE__DRAIN__DELAY: "0s", FANFARE__DRAIN__WINDOW: "0s", ...settings,
    });
    const portOf = (message, field) => {
      const line = part.output.split("\n").find((line) => line.includes(message));
      return Number(line?.match(new RegExp(`"${field}":"[^"]*:(\\d+)"`))?.[1] ?? 0);
    };
    await until(`${name} accepts clients`, () => {
      if (part.process.exitCode !== null) throw new Error(`${name} ended:\n${part.output}`);
      return portOf("clients are accepted", "public");
    });
    part.port = portOf("clients are accepted", "public");
    part.adminPort = portOf("the admin listener answers", "admin");
    part.url = `http://127.0.0.1:${part.port}/`;
    return part;
  }

  /** HAProxy with the file that is shipped, in front of two gateways. Resolves when both are up. */
  async haproxy(a, b) {
    const port = await freePort();
    const part = this.#start("haproxy", ["-f", path.join(root, "deploy/haproxy.cfg")], {
      FANFARE_LISTEN: `127.0.0.1:${port}`, FANFARE_A: `127.0.0.1:${a.port}`, FANFARE_B: `127.0.0.1:${b.port}`,
      FANFARE_A_ADMIN: String(a.adminPort), FANFARE_B_ADMIN: String(b.adminPort),
    });
    await until("HAProxy listens", () => {
      if (part.process.exitCode !== null) throw new Error(`haproxy ended:\n${part.output}`);
      return answers(port);
    });
    return { url: `http://127.0.0.1:${port}/`, part };
  }

  /** Sends a signal and waits for the end. */
  async end(part, signal = "SIGKILL") {
    if (part.process.exitCode === null && part.process.signalCode === null) {
      part.process.kill(signal);
      await within(`${part.name} ends`, part.ended);
    }
  }

  async close() {
    for (const part of this.#parts.reverse()) await this.end(part);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #start(command, args, settings) {
    const inherited = Object.entries(process.env).filter(([key]) => !/^(FANFARE|KUBERNETES_|PORT$|REDIS_URL$)/.test(key));
    const env = { ...Object.fromEntries(inherited), PATH: `${process.env.PATH}:/usr/sbin:/sbin`, ...settings };
    const part = { name: path.basename(command), output: "" };
    part.process = spawn(command, args.map(String), { env, cwd: this.#directory, stdio: ["ignore", "pipe", "pipe"] });
    part.ended = new Promise((resolve) => { part.process.on("exit", resolve); part.process.on("error", resolve); });
    for (const stream of [part.process.stdout, part.process.stderr]) stream.on("data", (bytes) => { part.output += bytes; });
    part.process.on("error", (error) => { part.output += error; });
    this.#parts.push(part);
    return part;
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => { socket.destroy(); resolve(true); });
    socket.on("error", () => resolve(false));
  });
}
