'use strict';
// As much of a browser's EventSource as the SDK uses: it opens, tells messages, fails once, and can be closed. It does not reconnect, since
// the SDK closes it at the first failure.

class EventSource {
  constructor(url) {
    this.aborted = new AbortController();
    this.read(url).catch((error) => {
      if (!this.aborted.signal.aborted) this.onerror?.(error);
    });
  }

  async read(url) {
    const response = await fetch(url, { headers: { accept: 'text/event-stream' }, signal: this.aborted.signal });
    if (response.status !== 200) throw new Error(`answered with ${response.status}`);
    this.onopen?.();
    const decoder = new TextDecoder();
    let unread = '';
    for await (const piece of response.body) {
      unread += decoder.decode(piece, { stream: true }).replaceAll('\r\n', '\n');
      const events = unread.split('\n\n');
      unread = events.pop();
      for (const event of events) {
        const lines = event.split('\n').filter((line) => line.startsWith('data:'));
        if (lines.length) this.onmessage?.({ data: lines.map((line) => line.slice(5).replace(/^ /, '')).join('\n') });
      }
    }
    throw new Error('the stream has ended');
  }

  close() {
    this.aborted.abort();
  }
}

module.exports = { EventSource };
