'use strict';
// Every case in both encodings, all at once, on two nodes that stay up.

const { test, after } = require('node:test');
const { Case } = require('./people.js');
const { startCluster } = require('./cluster.js');

const subjects = ['connections', 'subscriptions', 'publishing'];
const cluster = startCluster();

after(async () => (await cluster).stop());

for (const subject of subjects) {
  test(subject, { concurrency: 12 }, async (t) => {
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
