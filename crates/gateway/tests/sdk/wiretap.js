'use strict';
// A WebSocket proxy between a client and the server that writes down what either side says.
//
// Knows frames, close codes and subprotocols, and not what is in a frame: that is `wire.js`, asked once everything has been said.

const { WebSocketServer, WebSocket } = require('ws');

/** One connection as it was heard: `{ asked, chosen, query, refused?, heard: [{ from, frame | close }] }`. */
class Connection {
  constructor(asked, query) {
    this.asked = asked;
    this.query = query;
    this.chosen = '';
    this.heard = [];
    this.closed = new Promise((resolve) => (this.markClosed = resolve));
  }
}

class Wiretap {
  constructor(target) {
    this.target = target;
    this.connections = [];
    this.heardInAll = 0;
    this.hearing = true;
  }

  async start() {
    this.server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false, maxPayload: 1 << 26, ...this.handshake() });
    await new Promise((resolve) => this.server.once('listening', resolve));
    this.url = `ws://127.0.0.1:${this.server.address().port}/connection/websocket`;
    return this;
  }

  // The server's answer decides on ours, so it is asked before the client's handshake is answered.
  handshake() {
    return {
      verifyClient: (info, answer) => {
        const asked = (info.req.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim()).filter(Boolean);
        const query = new URL(info.req.url, 'ws://tap').search;
        const connection = new Connection(asked, query);
        if (this.hearing) this.connections.push(connection);
        const headers = info.req.headers.origin ? { Origin: info.req.headers.origin } : {};
        const address = this.target + query;
        const upstream = new WebSocket(address, asked, { perMessageDeflate: false, headers, maxPayload: 1 << 26 });
        const early = [];
        upstream.on('message', (data, binary) => early.push([data, binary]));
        upstream.once('open', () => {
          connection.chosen = upstream.protocol;
          info.req.tapped = { connection, upstream, early };
          answer(true);
        });
        upstream.once('unexpected-response', (_, response) => {
          connection.refused = response.statusCode;
          upstream.on('error', () => {});
          upstream.terminate();
          answer(false, response.statusCode);
        });
        upstream.once('error', (error) => {
          if (connection.refused) return;
          connection.refused = connection.chosen === '' && /subprotocol/i.test(error.message) ? 'subprotocol' : error.code ?? 'error';
          answer(false, 502);
        });
      },
      handleProtocols: (_, request) => request.tapped.connection.chosen || false,
    };
  }

  /** Joins what has been opened on both sides. */
  join() {
    this.server.on('connection', (client, request) => {
      const { connection, upstream, early } = request.tapped;
      upstream.removeAllListeners('message');
      const end = { closedBy: undefined };
      const hear = (from, what) => {
        if (!this.hearing) return;
        this.heardInAll += 1;
        connection.heard.push({ from, ...what });
      };
      const toClient = (data, binary) => {
        hear('server', { frame: data, binary });
        client.send(data, { binary });
      };
      for (const [data, binary] of early) toClient(data, binary);
      upstream.on('message', toClient);
      client.on('message', (data, binary) => {
        hear('client', { frame: data, binary });
        if (upstream.readyState === WebSocket.OPEN) upstream.send(data, { binary });
      });
      const closed = (from, other) => (code, reason) => {
        if (!end.closedBy) {
          end.closedBy = from;
          hear(from, { close: [code, reason.toString('utf8')] });
          if (code === 1006) other.terminate();
          else if (code === 1005) other.close();
          else other.close(code, reason);
        }
        connection.markClosed();
      };
      client.on('close', closed('client', upstream));
      upstream.on('close', closed('server', client));
      client.on('error', () => {});
      upstream.on('error', () => {});
    });
    return this;
  }

  async stop() {
    this.hearing = false;
    for (const client of this.server.clients) client.terminate();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** A proxy to the server at `target` (a ws:// address), on a port of its own. */
function startWiretap(target) {
  const tap = new Wiretap(target);
  return tap.start().then(() => tap.join());
}

module.exports = { startWiretap };
