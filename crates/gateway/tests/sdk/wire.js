'use strict';
// The two encodings of the Centrifuge protocol: messages to frames, and frames to messages in the JSON form, whichever they came in.
//
// Knows which field has which number, and nothing about what the fields mean. What cannot be decoded is shown as it is.

const stringMap = { map: 'string' };

// [number, name, type]: a type is a name for a scalar, an object for a message, [type] for repeated ones, { map } for a map by strings.
function message(...fields) {
  return { fields: new Map(fields.map(([number, name, type]) => [number, { number, name, type }])) };
}

const empty = message();
const position = message([1, 'offset', 'number'], [2, 'epoch', 'string']);
const clientInfo = message([1, 'user', 'string'], [2, 'client', 'string'], [3, 'conn_info', 'bytes'], [4, 'chan_info', 'bytes']);
const publication = message(
  [4, 'data', 'bytes'], [5, 'info', clientInfo], [6, 'offset', 'number'], [7, 'tags', stringMap], [8, 'delta', 'bool'],
  [9, 'time', 'number'], [10, 'channel', 'string'], [11, 'key', 'string'], [12, 'removed', 'bool'], [14, 'epoch', 'string'],
  [16, 'version', 'number'],
);
const filter = message([1, 'op', 'string'], [2, 'key', 'string'], [3, 'cmp', 'string'], [4, 'val', 'string'], [5, 'vals', ['string']]);
filter.fields.set(6, { number: 6, name: 'nodes', type: [filter] });

const subscribeRequest = message(
  [1, 'channel', 'string'], [2, 'token', 'string'], [3, 'recover', 'bool'], [6, 'epoch', 'string'], [7, 'offset', 'number'],
  [8, 'data', 'bytes'], [9, 'positioned', 'bool'], [10, 'recoverable', 'bool'], [11, 'join_leave', 'bool'], [12, 'delta', 'string'],
  [13, 'tf', filter], [14, 'flag', 'number'], [15, 'type', 'number'], [16, 'phase', 'number'], [17, 'cursor', 'string'],
  [18, 'limit', 'number'], [19, 'asc', 'bool'],
);
const subscribeResult = message(
  [1, 'expires', 'bool'], [2, 'ttl', 'number'], [3, 'recoverable', 'bool'], [6, 'epoch', 'string'], [7, 'publications', [publication]],
  [8, 'recovered', 'bool'], [9, 'offset', 'number'], [10, 'positioned', 'bool'], [11, 'data', 'bytes'], [12, 'was_recovering', 'bool'],
  [13, 'delta', 'bool'], [14, 'id', 'number'], [15, 'type', 'number'], [16, 'phase', 'number'], [17, 'cursor', 'string'],
  [18, 'state', [publication]], [19, 'publish_debounce', 'number'],
);
const onlyChannel = message([1, 'channel', 'string']);

const command = message(
  [1, 'id', 'number'],
  [4, 'connect', message(
    [1, 'token', 'string'], [2, 'data', 'bytes'], [3, 'subs', { map: subscribeRequest }], [4, 'name', 'string'], [5, 'version', 'string'],
    [6, 'headers', stringMap], [7, 'flag', 'number'], [8, 'dict', 'string'], [9, 'profile', 'string'],
  )],
  [5, 'subscribe', subscribeRequest],
  [6, 'unsubscribe', onlyChannel],
  [7, 'publish', message([1, 'channel', 'string'], [2, 'data', 'bytes'], [3, 'type', 'number'], [4, 'key', 'string'], [5, 'removed', 'bool'])],
  [8, 'presence', onlyChannel],
  [9, 'presence_stats', onlyChannel],
  [10, 'history', message([1, 'channel', 'string'], [7, 'limit', 'number'], [8, 'since', position], [9, 'reverse', 'bool'])],
  [11, 'ping', empty],
  [12, 'send', message([1, 'data', 'bytes'])],
  [13, 'rpc', message([1, 'data', 'bytes'], [2, 'method', 'string'])],
  [14, 'refresh', message([1, 'token', 'string'])],
  [15, 'sub_refresh', message([1, 'channel', 'string'], [2, 'token', 'string'], [3, 'type', 'number'])],
);

const push = message(
  [1, 'id', 'number'], [2, 'channel', 'string'], [4, 'pub', publication],
  [5, 'join', message([1, 'info', clientInfo])], [6, 'leave', message([1, 'info', clientInfo])],
  [7, 'unsubscribe', message([2, 'code', 'number'], [3, 'reason', 'string'])],
  [8, 'message', message([1, 'data', 'bytes'])],
  [9, 'subscribe', message([1, 'recoverable', 'bool'], [4, 'epoch', 'string'], [5, 'offset', 'number'], [6, 'positioned', 'bool'], [7, 'data', 'bytes'])],
  [11, 'disconnect', message([1, 'code', 'number'], [2, 'reason', 'string'], [3, 'reconnect', 'bool'])],
  [12, 'refresh', message([1, 'expires', 'bool'], [2, 'ttl', 'number'])],
);

const reply = message(
  [1, 'id', 'number'],
  [2, 'error', message([1, 'code', 'number'], [2, 'message', 'string'], [3, 'temporary', 'bool'])],
  [4, 'push', push],
  [5, 'connect', message(
    [1, 'client', 'string'], [2, 'version', 'string'], [3, 'expires', 'bool'], [4, 'ttl', 'number'], [5, 'data', 'bytes'],
    [6, 'subs', { map: subscribeResult }], [7, 'ping', 'number'], [8, 'pong', 'bool'], [9, 'session', 'string'], [10, 'node', 'string'],
    [11, 'time', 'number'], [12, 'flag', 'number'],
  )],
  [6, 'subscribe', subscribeResult],
  [7, 'unsubscribe', empty],
  [8, 'publish', empty],
  [9, 'presence', message([1, 'presence', { map: clientInfo }])],
  [10, 'presence_stats', message([1, 'num_clients', 'number'], [2, 'num_users', 'number'])],
  [11, 'history', message([1, 'publications', [publication]], [2, 'epoch', 'string'], [3, 'offset', 'number'])],
  [12, 'ping', empty],
  [13, 'rpc', message([1, 'data', 'bytes'])],
  [14, 'refresh', message([1, 'client', 'string'], [2, 'version', 'string'], [3, 'expires', 'bool'], [4, 'ttl', 'number'])],
  [15, 'sub_refresh', message([1, 'expires', 'bool'], [2, 'ttl', 'number'])],
);

// --- reading -------------------------------------------------------------------------------------------------------------------------

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  get done() {
    return this.at >= this.bytes.length;
  }

  varint() {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      if (this.done || shift > 63n) throw new Error('not a varint');
      const byte = this.bytes[this.at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(BigInt.asIntN(64, value));
    }
  }

  take(length) {
    if (length < 0 || this.at + length > this.bytes.length) throw new Error('truncated');
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

// Payloads are JSON in nearly every scenario; then they are shown as in the JSON encoding.
function payload(bytes) {
  const text = bytes.toString('utf8');
  try {
    return JSON.parse(text);
  } catch {
    return Buffer.from(text, 'utf8').equals(bytes) ? { text } : { hex: bytes.toString('hex') };
  }
}

function readValue(reader, wireType, type) {
  if (wireType === 0) {
    const value = reader.varint();
    return type === 'bool' ? value !== 0 : value;
  }
  if (wireType === 5 || wireType === 1) return { hex: reader.take(wireType === 5 ? 4 : 8).toString('hex') };
  if (wireType !== 2) throw new Error(`wire type ${wireType}`);
  const bytes = reader.take(reader.varint());
  if (type === 'string') return bytes.toString('utf8');
  if (type === 'bytes') return payload(bytes);
  if (type?.fields) return readMessage(bytes, type);
  return { hex: bytes.toString('hex') };
}

function readMessage(bytes, schema) {
  const reader = new Reader(bytes);
  const read = {};
  while (!reader.done) {
    const tag = reader.varint();
    const field = schema.fields.get(tag >>> 3) ?? { name: `field ${tag >>> 3}` };
    const { name, type } = field;
    if (Array.isArray(type)) {
      (read[name] ??= []).push(readValue(reader, tag & 7, type[0]));
    } else if (type?.map) {
      const entry = readValue(reader, tag & 7, message([1, 'key', 'string'], [2, 'value', type.map]));
      (read[name] ??= {})[entry.key ?? ''] = entry.value ?? (type.map === 'string' ? '' : {});
    } else {
      read[name] = readValue(reader, tag & 7, type);
    }
  }
  return read;
}

/** The messages of a frame, in the JSON form; throws when it is not made of messages. `schema` is `command` or `reply`. */
function decode(encoding, frame, schema) {
  if (encoding === 'json') return frame.toString('utf8').replace(/\n$/, '').split('\n').map((line) => JSON.parse(line));
  const reader = new Reader(frame);
  const messages = [];
  while (!reader.done) messages.push(readMessage(reader.take(reader.varint()), schema));
  return messages;
}

// --- writing -------------------------------------------------------------------------------------------------------------------------

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest ? low | 0x80 : low);
  } while (rest);
  return Buffer.from(bytes);
}

function lengthPrefixed(bytes) {
  return Buffer.concat([varint(bytes.length), bytes]);
}

function writeField(number, value, type) {
  if (type === 'number' || type === 'bool') return Buffer.concat([varint(number << 3), varint(Number(value))]);
  let bytes;
  if (type === 'string') bytes = Buffer.from(value, 'utf8');
  else if (type === 'bytes') bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value), 'utf8');
  else bytes = writeMessage(value, type);
  return Buffer.concat([varint((number << 3) | 2), lengthPrefixed(bytes)]);
}

function writeMessage(value, schema) {
  const parts = [];
  for (const { number, name, type } of schema.fields.values()) {
    if (value[name] === undefined) continue;
    if (Array.isArray(type)) {
      for (const item of value[name]) parts.push(writeField(number, item, type[0]));
    } else if (type.map) {
      const entry = message([1, 'key', 'string'], [2, 'value', type.map]);
      for (const [key, item] of Object.entries(value[name])) parts.push(writeField(number, { key, value: item }, entry));
    } else {
      parts.push(writeField(number, value[name], type));
    }
  }
  return Buffer.concat(parts);
}

/** One frame with these commands: a string for JSON, bytes for Protobuf. */
function encode(encoding, commands) {
  if (encoding === 'json') return commands.map((one) => JSON.stringify(one)).join('\n');
  return Buffer.concat(commands.map((one) => lengthPrefixed(writeMessage(one, command))));
}

module.exports = { command, reply, decode, encode };
