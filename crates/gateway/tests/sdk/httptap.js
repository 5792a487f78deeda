'use strict';
// An HTTP proxy between a client and the server that writes down what either side says, while it is said.
//
// Knows bodies, and that an answer may go on for as long as a connection; not what is in them. What a body says is in lines, of which the
// empty ones are none, or in events of one line.

const http = require('node:http');

/** One request as it was heard: `{ address, method, said, status, heard }`; `said` is its body or query, `heard` the lines of the answer. */
class Exchange {
  constructor(request, said) {
    const url = new URL(request.url, 'http://tap');
    this.address = url.pathname;
    this.method = request.method;
    this.said = said.length ? said : Buffer.from(url.searchParams.get('cf_connect') ?? '');
    this.heard = [];
    this.rest = '';
  }

  hear(text) {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop();
    this.heard.push(...lines.map((line) => line.trim().replace(/^data: /, '')).filter(Boolean).map((line) => Buffer.from(line)));
  }
}

class HttpTap {
  constructor(target) {
    this.target = target;
    this.exchanges = [];
    this.server = http.createServer((request, response) => this.pass(request, response));
  }

  async start() {
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  async pass(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const said = Buffer.concat(chunks);
    const exchange = new Exchange(request, said);
    this.exchanges.push(exchange);
    const { host, connection, 'transfer-encoding': _, ...headers } = request.headers;
    const asked = { method: request.method, headers: { ...headers, 'content-length': said.length } };
    const upstream = http.request(this.target + request.url, asked);
    upstream.once('response', (answer) => {
      exchange.status = answer.statusCode;
      response.writeHead(answer.statusCode, answer.headers);
      // The client may wait for the head before it goes on.
      response.flushHeaders();
      answer.setEncoding('utf8');
      answer.on('data', (text) => {
        if (exchange.status === 200) exchange.hear(text);
        response.write(text);
      });
      answer.once('end', () => response.end());
      answer.once('error', () => response.destroy());
    });
    upstream.once('error', () => response.destroy());
    response.once('close', () => upstream.destroy());
    upstream.end(said);
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** A proxy to the server at `target` (a http:// address), on a port of its own. */
const startHttpTap = (target) => new HttpTap(target).start();

module.exports = { startHttpTap };
