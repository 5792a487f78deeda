'use strict';
// Clients that have no WebSocket: by SSE (JSON only) or an HTTP stream, and what they say in requests of its own, to any node.

const assert = require('node:assert/strict');
const { without, transportOf } = require('../streams.js');

// The pushes of a stream that only hears, as they come. `path` with the connect request in its query.
async function* pushes(c, node, path, connect) {
  const aborted = new AbortController();
  c.opened.push(() => aborted.abort());
  const response = await fetch(`${node.http}/connection/${path}`, { method: 'POST', body: JSON.stringify(connect), signal: aborted.signal });
  assert.equal(response.status, 200);
  const decoder = new TextDecoder();
  let unread = '';
  for await (const piece of response.body) {
    unread += decoder.decode(piece, { stream: true });
    const lines = unread.split('\n');
    unread = lines.pop();
    for (const line of lines) {
      const text = line.replace(/^data: ?/, '').trim();
      if (text && text !== '{}') yield JSON.parse(text);
    }
  }
}

module.exports = {
  async 'a stream hears what a socket says, and a socket what a stream says through the other node'(c, { a, b }) {
    const channel = c.channel('open:room');
    const stream = await c.connected(null, { ...without(transportOf(c), a, b), token: c.token('alice') });
    const mine = await c.subscribed(stream, channel);
    const others = await c.subscribed(await c.connected(b), channel);
    await others.say('to the stream');
    assert.deepEqual(await mine.hears(1), ['to the stream']);
    await mine.say('from the stream');
    assert.deepEqual(await others.hears(2), ['to the stream', 'from the stream']);
    assert.equal((await others.seen.sees('publication', 2)).info.user, c.user('alice'));
  },

  async 'two streams, on a node each, hear one another in order'(c, { a, b }) {
    const channel = c.channel('open:room');
    const [near, far] = [await c.connected(null, without('http_stream', a, a)), await c.connected(null, without(transportOf(c), b, a))];
    const [mine, others] = [await c.subscribed(near, channel), await c.subscribed(far, channel)];
    for (let n = 0; n < 10; n += 1) await (n % 2 ? others : mine).say(n);
    const all = Array.from({ length: 10 }, (_, n) => n);
    assert.deepEqual([await mine.hears(10), await others.hears(10)], [all, all]);
  },

  async 'a stream is refused as a socket is'(c, { a, b }) {
    const forged = c.client(null, { ...without(transportOf(c), a, b), token: c.token('alice', 60, {}, 'another key') });
    forged.connect();
    assert.equal((await forged.seen.sees('disconnected')).code, 3500);
    const stream = await c.connected(null, without(transportOf(c), b, a));
    const subscription = c.subscription(stream, c.channel('nowhere:day'));
    subscription.subscribe();
    assert.equal((await subscription.seen.sees('unsubscribed')).code, 102);
  },

  async 'a stream that disconnects is gone, and is back when it connects again'(c, { a, b }) {
    const channel = c.channel('lobby:x');
    const watcher = await c.subscribed(await c.connected(b), channel);
    const stream = await c.connected(null, { ...without(transportOf(c), a, b), token: c.token('alice') });
    const mine = await c.subscribed(stream, channel);
    await watcher.seen.sees('join', 2);
    stream.disconnect();
    assert.equal((await watcher.seen.sees('leave')).info.user, c.user('alice'));
    stream.connect();
    await mine.seen.sees('subscribed', 2);
    await watcher.say('welcome back');
    assert.deepEqual(await mine.hears(1), ['welcome back']);
  },

  async 'a stream that only hears has the channels of its token'(c, { a, b }) {
    const channel = c.channel('free:one');
    const path = c.encoding === 'json' ? 'uni_sse' : 'uni_http_stream';
    const heard = pushes(c, a, path, { token: c.token('alice', 60, { channels: [channel] }) });
    const { value: first } = await heard.next();
    assert.deepEqual(Object.keys(first.connect.subs), [channel]);
    const publisher = await c.connected(b);
    await publisher.publish(channel, c.data(publisher, { n: 1 }));
    const { value: second } = await heard.next();
    assert.deepEqual([second.channel, second.pub.data], [channel, { n: 1 }]);
  },

  async 'a socket that only hears has the channels of its token'(c, { a, b }) {
    const channel = c.channel('free:one');
    const connect = encodeURIComponent(JSON.stringify({ token: c.token('alice', 60, { channels: [channel] }) }));
    const socket = await c.socket(`${a.ws.replace('/websocket', '/uni_websocket')}?cf_connect=${connect}`);
    assert.deepEqual(Object.keys((await socket.seen.sees('message')).connect.subs), [channel]);
    const publisher = await c.connected(b);
    await publisher.publish(channel, c.data(publisher, { n: 1 }));
    const push = await socket.seen.sees('message', 2);
    assert.deepEqual([push.channel, push.pub.data], [channel, { n: 1 }]);
  },
};
