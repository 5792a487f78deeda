'use strict';
// The application behind the server: what it is asked about connections, subscriptions, publications and calls, and its fixed answers.
//
// Keeps nothing between two requests; the answer depends on what is asked only, so that a recording does not depend on what ran before.

const http = require('node:http');

const answers = {
  // The client says in its connect data what it would like to be answered.
  connect({ data }) {
    if (data?.refuse === 'error') return { error: { code: 1001, message: 'not today' } };
    if (data?.refuse === 'disconnect') return { disconnect: { code: 4500, reason: 'banned' } };
    if (!data?.user) return {};
    const result = { user: data.user, info: { name: data.user }, data: { greeting: `hello ${data.user}` } };
    if (data.channels) result.channels = data.channels;
    if (data.lasts) result.expire_at = Math.floor(Date.now() / 1000) + data.lasts;
    return { result };
  },
  refresh({ user }) {
    if (user.startsWith('leaving')) return { result: { expired: true } };
    return { result: { expire_at: Math.floor(Date.now() / 1000) + 3600 } };
  },
  subscribe({ channel, data }) {
    if (channel.includes('members')) return { error: { code: 403, message: 'not a member' } };
    if (channel.includes('trap')) return { disconnect: { code: 4501, reason: 'caught' } };
    return { result: { info: { role: 'guest' }, data: { welcome: data ?? null } } };
  },
  publish({ data }) {
    if (data?.rude) return { error: { code: 422, message: 'not polite' } };
    return { result: { data: { ...data, checked: true }, tags: { by: 'backend' } } };
  },
  rpc({ method = '', data }) {
    if (method === 'backend:echo') return { result: { data: { method, data: data ?? null } } };
    if (method === 'backend:nothing') return { result: {} };
    if (method === 'backend:refuse') return { error: { code: 1002, message: 'no', temporary: true } };
    if (method === 'backend:drop') return { disconnect: { code: 4000, reason: 'come back' } };
    if (method.startsWith('backend:')) return null;
    // The reference answers these itself, and asks for its namespace only; other servers ask for every method.
    return { error: method.includes(':') ? { code: 104, message: 'method not found' } : { code: 108, message: 'not available' } };
  },
};

/** Answers `POST /<event>` on 127.0.0.1. */
async function startBackend(port = 0) {
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const answer = answers[request.url.slice(1)]?.(JSON.parse(Buffer.concat(chunks).toString('utf8')));
    response.writeHead(answer ? 200 : 500, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? {}));
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

module.exports = { startBackend };
