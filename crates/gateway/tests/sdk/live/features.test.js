'use strict';
// Every case in both encodings, many at once, on two nodes that stay up.

const { test, after } = require('node:test');
const { Case } = require('./people.js');
const { startCluster } = require('./cluster.js');

// And how many of its cases are played at the same time.
const subjects = { connections: 12, subscriptions: 12, publishing: 12, streams: 12, servers: 12, multitudes: 1 };
const cluster = startCluster();

after(async () => (await cluster).stop());

for (const [subject, concurrency] of Object.entries(subjects)) {
  test(subject, { concurrency }, async (t) => {
    const cases = Object.entries(require(`./cases/${subject}.js`));
    const played = cases.flatMap(([name, story]) =>
      ['json', 'protobuf'].map((encoding) =>
        t.test(`${name}, ${encoding}`, async () => {
          const one = new Case(encoding);
          try {
            await story(one, await cluster);
          } finally {
            one.close();
          }
        }),
      ),
    );
    await Promise.all(played);
  });
}
