'use strict';
// What is published on one node and heard on both.

const assert = require('node:assert/strict');

const kinds = ['text', 'größe 😀 \u2028 "quoted" \\ / <b>', 0, -1.5, 1e21, true, null, [], [1, [2]], {}, { a: { b: null } }];
const other = { json: 'protobuf', protobuf: 'json' };

module.exports = {
  async 'both nodes hear both, in one order'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('open:room'));
    const said = Array.from({ length: 20 }, (_, n) => (n % 2 ? others : mine).say(n));
    await Promise.all(said);
    const [heardByMe, heardByOthers] = await Promise.all([mine.hears(20), others.hears(20)]);
    assert.deepEqual(heardByMe, heardByOthers);
    assert.deepEqual([...heardByMe].sort((x, y) => x - y), Array.from({ length: 20 }, (_, n) => n));
    for (const parity of [0, 1]) assert.deepEqual(heardByMe.filter((n) => n % 2 === parity), Array.from({ length: 10 }, (_, n) => 2 * n + parity));
  },

  async 'a batch is one frame, and every part is answered'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('open:room'));
    const client = mine.client;
    client.startBatching();
    const said = [1, 2, 3].map((n) => mine.say(n));
    const refused = c.refusal(client.publish(c.channel('news:day'), c.data(client, {})));
    client.stopBatching();
    await Promise.all(said);
    assert.equal(await refused, 103);
    assert.deepEqual(await others.hears(3), [1, 2, 3]);
  },

  async 'every kind of JSON arrives as it was'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('open:room'));
    for (const kind of kinds) await mine.say(kind);
    assert.deepEqual(await others.hears(kinds.length), kinds);
  },

  async 'what is nearly too long arrives'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('open:room'));
    const text = 'x'.repeat(60_000);
    await mine.say(text);
    assert.deepEqual(await others.hears(1), [text]);
  },

  async 'who published it is told'(c, { a, b }) {
    const channel = c.channel('members:day');
    const alice = await c.connected(a, { token: c.token('alice', 60, { info: { name: 'Alice' } }) });
    const alices = await c.subscribed(alice, channel, { token: c.ticket('alice', channel, 60, { info: { seat: 4 } }) });
    const bobs = await c.subscribed(await c.connected(b, { token: c.token('bob') }), channel, { token: c.ticket('bob', channel) });
    await alices.say('hello');
    const { info } = await bobs.seen.sees('publication');
    const { client } = await alice.seen.sees('connected');
    assert.deepEqual([info.user, info.client, c.value(info.connInfo), c.value(info.chanInfo)], [c.user('alice'), client, { name: 'Alice' }, { seat: 4 }]);
  },

  async 'who may not publish is told so, and stays'(c, { a, b }) {
    const [mine] = await c.both({ a, b }, c.channel('news:day'));
    const client = mine.client;
    assert.equal(await c.refusal(mine.say(1)), 103);
    assert.equal(await c.refusal(client.publish(c.channel('open:room'), c.data(client, 1))), 103);
    assert.equal(await c.refusal(client.publish(c.channel('nowhere:day'), c.data(client, 1))), 102);
    assert.equal(client.seen.all('disconnected').length, 0);
  },

  async 'where anyone may publish nobody has to subscribe'(c, { a, b }) {
    const channel = c.channel('free:wall');
    const listener = await c.subscribed(await c.connected(b), channel);
    const client = await c.connected(a);
    await client.publish(channel, c.data(client, 'from outside'));
    assert.deepEqual(await listener.hears(1), ['from outside']);
  },

  async 'what is too long for the channel is refused, and the next is heard'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('small:room'));
    assert.equal(await c.refusal(mine.say('x'.repeat(65))), 106);
    await mine.say('short');
    assert.deepEqual(await others.hears(1), ['short']);
  },

  async 'what is too much for the channel is refused for a while'(c, { a, b }) {
    const [mine, others] = await c.both({ a, b }, c.channel('slow:room'));
    const outcomes = await Promise.all(Array.from({ length: 6 }, (_, n) => mine.say(n).then(() => 'said', ({ code }) => code)));
    assert.deepEqual(outcomes.slice(0, 4), ['said', 'said', 'said', 'said']);
    assert.ok(outcomes.slice(4).includes(111), outcomes.join());
    assert.deepEqual((await others.hears(4)).slice(0, 4), [0, 1, 2, 3]);
  },

  async 'both encodings and plain sockets share a channel, over both nodes'(c, { a, b }) {
    const channel = c.channel('open:room');
    const mine = await c.subscribed(await c.connected(a), channel);
    const others = await c.subscribed(await c.connected(b, { encoding: other[c.encoding] }), channel);
    const [near, far] = await Promise.all([c.socket(a.raw(channel)), c.socket(b.raw(channel))]);
    const everybody = async (count) => [await mine.hears(count), await others.hears(count), ...(await Promise.all([near, far].map(async ({ seen }) => (await seen.sees('message', count), seen.all('message')))))];
    const said = [{ by: c.encoding }, { by: 'the other' }, { by: 'a plain socket' }, { by: 'the far one' }];
    await mine.say(said[0]);
    await everybody(1);
    await others.say(said[1]);
    await everybody(2);
    near.send(JSON.stringify(said[2]));
    await everybody(3);
    far.send(JSON.stringify(said[3]));
    assert.deepEqual(await everybody(4), [said, said, said, said]);
  },

  async 'what comes as a difference to the one before is whole again, beside those who did not ask for it'(c, { a, b }) {
    const channel = c.channel('delta:prices');
    const quote = (price) => ({ symbol: 'ACME', venue: 'a text that is long enough to make a difference worth sending, größe 😀', price });
    const [sender, plain] = await c.both({ a, b }, channel);
    const nearby = await c.subscribed(await c.connected(a), channel, { delta: 'fossil' });
    const far = await c.subscribed(await c.connected(b, { encoding: other[c.encoding] }), channel, { delta: 'fossil' });
    const said = [quote(1), quote(2), quote(2), { other: true }, quote(3), 'text', quote(4)];
    for (const one of said.slice(0, 4)) await sender.say(one);
    await Promise.all([sender, plain, nearby, far].map((one) => one.hears(4)));
    const late = await c.subscribed(await c.connected(b), channel, { delta: 'fossil' });
    for (const one of said.slice(4)) await sender.say(one);
    for (const one of [sender, plain, nearby, far]) assert.deepEqual(await one.hears(said.length), said);
    assert.deepEqual(await late.hears(3), said.slice(4));
  },

  async 'two channels do not mix'(c, { a, b }) {
    const [here, there] = [await c.both({ a, b }, c.channel('open:here')), await c.both({ a, b }, c.channel('open:there'))];
    await here[0].say('here');
    await there[1].say('there');
    assert.deepEqual(await Promise.all([...here, ...there].map((one) => one.hears(1))), [['here'], ['here'], ['there'], ['there']]);
  },
};
