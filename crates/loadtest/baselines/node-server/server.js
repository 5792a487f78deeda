// The chat server of the Node tutorial: every message of every client goes to one Redis channel, and what arrives on that channel
// goes to every client. Like the original it takes any path, has no limits, and dies on a message that is not JSON.
//
// PORT (3000) and REDIS_URL (redis://127.0.0.1:6379) come from the environment. HOST and the line that says where it listens are for
// tests and benchmarks, which start it on loopback.
'use strict';

const { createClient } = require('redis');
const { WebSocket, WebSocketServer } = require('ws');

const CHANNEL = 'chat-channel';
const port = Number(process.env.PORT ?? 3000);
const host = process.env.HOST; // undefined: all interfaces, as the original
const redisUrl = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';

async function main() {
  // Without the library's limit of 5 s for a command: a server that is late under load would die of the unhandled rejection.
  const publisher = createClient({ url: redisUrl, commandOptions: { timeout: undefined } });
  const subscriber = publisher.duplicate();
  for (const client of [publisher, subscriber]) {
    client.on('error', (error) => console.error('redis:', error.message));
    await client.connect();
  }

  const server = new WebSocketServer({ port, host });

  await subscriber.subscribe(CHANNEL, (text) => {
    for (const socket of server.clients) {
      if (socket.readyState === WebSocket.OPEN) socket.send(text);
    }
  });

  server.on('connection', (socket) => {
    socket.on('message', (data) => {
      const message = JSON.parse(data.toString());
      publisher.publish(CHANNEL, JSON.stringify(message));
    });
    socket.on('error', (error) => console.error('socket:', error.message));
  });

  const announce = () => console.log(`listening on ${server.address().address}:${server.address().port}`);
  if (server.address()) announce();
  else server.on('listening', announce);
}

main();
