'use strict';
// The servers that scenarios are played against: Fanfare or the reference, started here, or others given by address.

const { startBackend } = require('./backend.js');
const { startReference, variants } = require('./reference.js');
const { startVariant } = require('./fanfare.js');

// Each variant started when first asked for, and one backend for all.
async function started(start) {
  const backend = await startBackend();
  const servers = new Map();
  return {
    of(variant) {
      if (!servers.has(variant)) servers.set(variant, start(variant, backend.url));
      return servers.get(variant);
    },
    async stop() {
      for (const server of servers.values()) await server.then((one) => one.stop(), () => {});
      await backend.stop();
    },
  };
}

const referenceServers = () => started(startReference);
const fanfareServers = () => started(startVariant);

/**
 * Servers that run already. SERVER_USUAL (and _STRICT, _QUICK, _ASKED) is the address of that variant's WebSocket endpoint, and
 * API_USUAL (...) of its server API; without one of them its scenarios are left out. BACKEND_PORT is where they expect the backend.
 */
async function givenServers(environment = process.env) {
  const backend = environment.BACKEND_PORT ? await startBackend(Number(environment.BACKEND_PORT)) : undefined;
  return {
    of(variant) {
      const ws = environment[`SERVER_${variant.toUpperCase()}`];
      const api = environment[`API_${variant.toUpperCase()}`];
      return ws && api ? { ws, api } : undefined;
    },
    stop: async () => backend?.stop(),
  };
}

const areGiven = (environment = process.env) => variants.some((variant) => environment[`SERVER_${variant.toUpperCase()}`]);

module.exports = { referenceServers, fanfareServers, givenServers, areGiven };
