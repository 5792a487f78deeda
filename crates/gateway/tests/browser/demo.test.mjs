// The demo page as people use it: two tabs, two instances, one Redis, a real browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Cluster, until } from "./cluster.mjs";
import { Tab, launch } from "./tab.mjs";

const cluster = new Cluster();
const LIMIT = { timeout: 60_000 };
let browser, redis, a, b;

before(async () => {
  redis = await cluster.redis();
  [a, b, browser] = await Promise.all([cluster.gateway("node-a", redis), cluster.gateway("node-b", redis), launch()]);
}, LIMIT);

after(async () => {
  await browser?.close();
  await cluster.close();
}, LIMIT);

/** Opens a tab on each address, runs `use`, and demands that no page did what it should not. */
async function withTabs(urls, use, options = {}) {
  const tabs = await Promise.all(urls.map((url) => Tab.open(browser, url, options)));
  try {
    await use(...tabs);
    for (const tab of tabs) assert.deepEqual(await tab.misdeeds(), []);
  } finally {
    await Promise.all(tabs.map((tab) => tab.close()));
  }
}

test("two tabs on two instances show the same messages in the same order", LIMIT, () => withTabs([a.url, b.url], async (ada, grace) => {
  assert.equal(await ada.instance(), "Instance: node-a");
  assert.equal(await grace.instance(), "Instance: node-b");
  assert.equal(await ada.state(), "Connected");
  await ada.callMe("Ada");
  await grace.callMe("Grace");
  const said = [];
  for (let turn = 1; turn <= 10; turn++) {
    await Promise.all([ada.say(`Ada ${turn}`), grace.say(`Grace ${turn}`)]);
    said.push(`Ada ${turn}`, `Grace ${turn}`);
  }
  const [seenByAda, seenByGrace] = await Promise.all([ada.bodies(said.length), grace.bodies(said.length)]);
  assert.deepEqual(seenByAda, seenByGrace);
  assert.deepEqual([...seenByAda].sort(), [...said].sort());
  for (const who of ["Ada", "Grace"]) {
    assert.deepEqual(seenByAda.filter((text) => text.startsWith(who)), said.filter((text) => text.startsWith(who)));
  }
  assert.match(await ada.page.textContent("#latency"), /^\d+(\.\d)? ms$/);
  assert.equal(await ada.page.locator(".own").count(), 10);
  assert.equal(await ada.page.locator(".message .author").last().textContent(), seenByAda.at(-1).split(" ")[0]);
}));

test("a plain WebSocket and the Centrifuge protocol share the channel", LIMIT, () => withTabs([a.url, b.url], async (ada, grace) => {
  await grace.page.getByLabel("by").selectOption("centrifuge");
  await grace.isIn("open");
  assert.equal(await grace.instance(), "Page from: node-b");
  await ada.say("from a plain one");
  await grace.bodies(1);
  await grace.say("from the other");
  for (const tab of [ada, grace]) assert.deepEqual(await tab.bodies(2), ["from a plain one", "from the other"]);
  await grace.page.evaluate(() => connection.say('{"sensor":1}'));
  for (const tab of [ada, grace]) assert.deepEqual((await tab.bodies(3)).at(-1), '{"sensor":1}');
  assert.deepEqual(await grace.accessibilityProblems(), []);
  await grace.screenshot("centrifuge");
  await grace.page.getByLabel("by").selectOption("plain");
  await grace.isIn("open");
  assert.equal(await grace.instance(), "Instance: node-b");
  await grace.say("plain again");
  assert.equal((await ada.bodies(4)).at(-1), "plain again");
}));

test("text of others is shown as text", LIMIT, () => withTabs([a.url, b.url], async (ada, grace) => {
  const evil = "<img src=x onerror=alert(1)><script>alert(2)</script>";
  await grace.callMe("<b>Grace</b>");
  await grace.say(evil);
  assert.deepEqual(await ada.bodies(1), [evil]);
  assert.equal(await ada.page.locator("#log .author").textContent(), "<b>Grace</b>");
  assert.equal(await ada.page.locator("#log img, #log script, #log b").count(), 0);
}));

test("JSON of other applications is shown as it is", LIMIT, () => withTabs([a.url, b.url], async (tab, application) => {
  const foreign = ['{"type":"chat","text":5,"from":"x"}', "42", "null", '[1,"<b>"]', '{"sensor":1}'];
  await application.page.evaluate((foreign) => foreign.forEach((json) => connection.say(json)), foreign);
  assert.deepEqual(await tab.bodies(foreign.length), foreign);
  assert.equal(await tab.page.locator(".foreign").count(), foreign.length);
}));

test("a tab comes back when its instance does", LIMIT, () => withTabs([a.url, b.url], async (ada, grace) => {
  await cluster.end(a, "SIGKILL");
  assert.match(await ada.isIn("waiting"), /^Disconnected: next try in \d+ s$/);
  assert.equal(await ada.page.getAttribute("#send", "aria-disabled"), "true");
  await ada.say("kept");
  assert.equal(await ada.page.inputValue("#text"), "kept");
  assert.equal(await grace.state(), "Connected");
  a = await cluster.gateway("node-a2", redis, a.port);
  await ada.isIn("open");
  assert.equal(await ada.instance(), "Instance: node-a2");
  await ada.page.keyboard.press("Enter");
  assert.deepEqual(await grace.bodies(1), ["kept"]);
}));

test("behind HAProxy a tab shows who serves its socket, and moves when that one leaves", LIMIT, async () => {
  const leaving = await cluster.gateway("leaving", redis);
  const { url, part } = await cluster.haproxy(leaving, b);
  const trueNames = ["Instance: leaving", "Instance: node-b"];
  await withTabs([url, url], async (one, two) => {
    const [first, second] = [await one.instance(), await two.instance()];
    assert.deepEqual([first, second].sort(), trueNames);
    await cluster.end(leaving, "SIGTERM");
    const moved = first === trueNames[0] ? one : two;
    await until("the tab has moved", async () => await moved.instance() === trueNames[1] && await moved.state() === "Connected");
    await one.say("still together");
    await two.bodies(1);
  });
  await cluster.end(part);
});

test("the page is fenced in", LIMIT, async () => {
  const answer = await fetch(a.url, { headers: { accept: "text/html" } });
  const policy = answer.headers.get("content-security-policy");
  assert.match(policy, /^default-src 'none';/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  assert.equal((await fetch(a.url, { headers: { accept: "application/json" } })).status, 426);
  await withTabs([a.url], async (tab) => {
    const foreignScript = () => {
      const script = document.createElement("script");
      try { script.textContent = "globalThis.ran = true"; } catch { return "refused"; }
      document.body.append(script);
      return String(globalThis.ran);
    };
    assert.equal(await tab.page.evaluate(foreignScript), "refused");
    assert.equal(await tab.page.evaluate("violations.splice(0).length"), 1);
    tab.problems.length = 0;
  });
});

test("everything can be done and seen from the keyboard", LIMIT, () => withTabs([a.url], async (tab) => {
  const focused = () => `${document.activeElement.id} ${getComputedStyle(document.activeElement).outlineStyle}`;
  assert.equal(await tab.page.evaluate(focused), "text solid", "where one writes comes first");
  for (const [key, expected] of [["Shift+Tab", "name solid"], ["Shift+Tab", "log solid"], ["Tab", "name solid"], ["Tab", "text solid"], ["Tab", "send solid"]]) {
    await tab.page.keyboard.press(key);
    assert.equal(await tab.page.evaluate(focused), expected);
  }
}));

for (const colorScheme of ["light", "dark"]) {
  for (const [width, height] of [[1000, 700], [360, 680]]) {
    test(`nothing is wrong for assistive technology, ${colorScheme}, ${width} wide`, LIMIT, () => withTabs([a.url, b.url], async (tab, other) => {
      await tab.callMe("Ada");
      await other.callMe("Grace");
      await tab.say("Hello from the first instance.");
      await tab.bodies(1);
      await other.say("And hello from the second, with a line that is long enough to be broken somewhere, on a phone more than once.");
      await tab.bodies(2);
      await tab.page.evaluate(() => connection.say('{"sensor":12,"values":[1,2,3.5],"unit":"lx"}'));
      await tab.bodies(3);
      assert.deepEqual(await tab.accessibilityProblems(), []);
      const overflow = await tab.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `wider than the window by ${overflow}`);
      await tab.screenshot(`${colorScheme}-${width}`);
    }, { colorScheme, viewport: { width, height } }));
  }
}
