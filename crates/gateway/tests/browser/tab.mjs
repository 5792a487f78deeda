// One browser tab with the demo page, as a person sees it; whatever the page may not do is kept in `problems`.
import { readFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { chromium } from "playwright-core";

const PATIENCE = 15_000;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** A Chromium with a new empty profile, which playwright makes and removes. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

export class Tab {
  problems = [];

  static async open(browser, url, options = {}) {
    const tab = new Tab();
    tab.context = await browser.newContext(options);
    tab.context.setDefaultTimeout(PATIENCE);
    tab.page = await tab.context.newPage();
    // A lost connection is an error of the browser's console, and not one of the page.
    tab.page.on("console", (message) => {
      if (message.type() === "error" && !/^WebSocket connection to/.test(message.text())) tab.problems.push(message.text());
    });
    tab.page.on("pageerror", (error) => tab.problems.push(String(error)));
    tab.page.on("dialog", (dialog) => { tab.problems.push(`dialog: ${dialog.message()}`); return dialog.dismiss(); });
    // Runs before the page: a violation of its policy is told even if the console says nothing.
    await tab.page.addInitScript(() => {
      globalThis.violations = [];
      addEventListener("securitypolicyviolation", (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    tab.answer = await tab.page.goto(url);
    await tab.isIn("open");
    return tab;
  }

  /** Waits for a state, and gives its words at that moment: the next one may follow at once. */
  async isIn(state) {
    const words = await this.page.waitForFunction((state) => {
      const shown = document.querySelector("#state");
      return shown?.dataset.state === state && shown.textContent;
    }, state);
    return words.jsonValue();
  }

  async state() { return this.page.textContent("#state"); }
  async instance() { return `${await this.page.textContent("#node-label")}: ${await this.page.textContent("#node")}`; }
  async callMe(name) { await this.page.getByLabel("Your name").fill(name); }

  /** Types and presses Enter; does not wait for the message to come back. */
  async say(text) {
    await this.page.getByLabel("Message", { exact: true }).fill(text);
    await this.page.keyboard.press("Enter");
  }

  /** Every message's body, from the top, once there are `count`. */
  async bodies(count) {
    await this.page.waitForFunction((count) => document.querySelectorAll("#log .body").length >= count, count);
    return this.page.$$eval("#log .body", (bodies) => bodies.map((body) => body.textContent));
  }

  async accessibilityProblems() {
    await this.page.evaluate(`${axe}; undefined`);
    const { violations } = await this.page.evaluate("axe.run()");
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  }

  /** For looking at, where SCREENSHOTS names a directory. */
  async screenshot(name) {
    if (!process.env.SCREENSHOTS) return;
    mkdirSync(process.env.SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: path.join(process.env.SCREENSHOTS, `${name}.png`) });
  }

  /** What the page did that it should not. */
  async misdeeds() { return [...this.problems, ...await this.page.evaluate("violations")]; }
  async close() { await this.context.close(); }
}
