'use strict';
// How the SDK is told to do without a WebSocket: by SSE or an HTTP stream, and requests of its own to any node.

const { EventSource } = require('./event-source.js');

/** Options of a client that hears from `node`; what it says goes to `other`. */
const without = (transport, node, other) => ({
  transports: [{ transport, endpoint: `${node.http}/connection/${transport}` }],
  emulationEndpoint: `${other.http}/emulation`,
  eventsource: EventSource,
});

/** SSE has no bytes, so it stands for JSON here. */
const transportOf = ({ encoding }) => (encoding === 'json' ? 'sse' : 'http_stream');

module.exports = { without, transportOf };
