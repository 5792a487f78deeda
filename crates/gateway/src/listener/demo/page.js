// A chat over the bare channel. Every message is one JSON text that the gateway hands to every tab of every instance, the sender's own
// included; nothing is shown before it has come back, so that all tabs show one order. Text from others only ever becomes textContent.
"use strict";

const SHOWN_AT_MOST = 500;          // messages kept on the page
const ROUND_TRIPS_KEPT = 101;       // for the median
const BACKOFF_FIRST_MS = 500;
const BACKOFF_CAP_MS = 15_000;
const STEADY_AFTER_MS = 5_000;      // a connection that lived this long starts the backoff anew
const GROUP_WITHIN_MS = 120_000;    // one author's messages in a row share a head

const byId = (id) => document.getElementById(id);
const log = byId("log");
const composer = byId("composer");
const nameField = byId("name");
const textField = byId("text");
const dialectField = byId("dialect");

const tab = randomHex(8);
const about = (what) => document.querySelector(`meta[name="fanfare-${what}"]`).content;
const unconfirmed = new Map();      // id -> { text, sentAt }
const roundTrips = [];
let connection = null;              // what `plain` or `centrifuge` gave, and whether it is open
let attempt = 0;
let retry = { timer: 0, ticker: 0 };
let sequence = 0;
let previous = null;                // the last message shown: { from, at }

function randomHex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (b) => b.toString(16).padStart(2, "0")).join("");
}

// ---- the two ways to talk: the same JSON in the same channel, only what is around it differs

function address(path) {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

// A plain WebSocket: every text is a message.
function plain(on) {
  const key = randomHex(8);
  const socket = new WebSocket(address(`/?demo=${key}`));
  socket.onopen = () => on.open(servingNode(key));
  socket.onmessage = ({ data }) => on.message(data);
  socket.onclose = ({ code }) => on.close(code === 1001 ? "This instance is leaving" : "Disconnected");
  return { say: (json) => socket.send(json), leave: () => socket.close() };
}

// The Centrifuge protocol, as little of it as a chat needs: connect, subscribe, publish, and pings answered. Use an SDK for more.
function centrifuge(on) {
  const channel = about("channel");
  const socket = new WebSocket(address("/connection/websocket"));
  const ask = (id, command) => socket.send(`{"id":${id},${command}}`);
  let refusal = null;
  let id = 2;
  socket.onopen = () => ask(1, '"connect":{}');
  socket.onmessage = ({ data }) => {
    for (const line of data.split("\n").filter(Boolean)) {
      const reply = JSON.parse(line);
      if (reply.error && reply.id <= 2) { refusal = `Refused, ${reply.error.message}`; socket.close(); }
      else if (reply.error) note(`Not published: ${reply.error.message}`);
      else if (reply.connect) ask(2, `"subscribe":{"channel":${JSON.stringify(channel)}}`);
      else if (reply.subscribe) on.open(null);
      else if (reply.push?.pub) on.message(JSON.stringify(reply.push.pub.data));
      else if (!reply.id && !reply.push) socket.send("{}");
    }
  };
  socket.onclose = ({ code }) => on.close(refusal ?? (code === 3001 ? "This instance is leaving" : "Disconnected"));
  return { say: (json) => ask(++id, `"publish":{"channel":${JSON.stringify(channel)},"data":${json}}`), leave: () => socket.close() };
}

// ---- the connection

function connect() {
  stopWaiting();
  say("connecting", "Connecting …");
  let steady = 0;
  const opening = connection = (dialectField.value === "centrifuge" ? centrifuge : plain)({
    open(node) {
      if (connection !== opening) return;
      steady = setTimeout(() => { attempt = 0; }, STEADY_AFTER_MS);
      opening.isOpen = true;
      showNode(node);
      say("open", "Connected");
    },
    message(json) {
      if (connection === opening) receive(json);
    },
    close(why) {
      clearTimeout(steady);
      if (connection !== opening) return;
      connection = null;
      reportUnconfirmed();
      reconnectLater(why);
    },
  });
}

dialectField.addEventListener("change", () => {
  const last = connection;
  connection = null;
  reportUnconfirmed();
  attempt = 0;
  connect();
  last?.leave();
});

// Full jitter: anything between nothing and the bound, so that the tabs of a lost instance do not come back in one wave.
function reconnectLater(why) {
  if (!navigator.onLine) return say("offline", "Offline: waiting for the network");
  const bound = Math.min(BACKOFF_CAP_MS, BACKOFF_FIRST_MS * 2 ** attempt);
  attempt += 1;
  const due = performance.now() + Math.random() * bound;
  const tell = () => say("waiting", `${why}: next try in ${Math.max(1, Math.ceil((due - performance.now()) / 1000))} s`);
  tell();
  retry.ticker = setInterval(tell, 1000);
  retry.timer = setTimeout(connect, due - performance.now());
}

function stopWaiting() {
  clearTimeout(retry.timer);
  clearInterval(retry.ticker);
}

addEventListener("offline", () => { if (!connection) { stopWaiting(); reconnectLater("Offline"); } });
addEventListener("online", () => { if (!connection) { stopWaiting(); attempt = 0; reconnectLater("Back online"); } });

function say(state, words) {
  const place = byId("state");
  place.dataset.state = state;
  if (place.textContent !== words) place.textContent = words;
  byId("send").setAttribute("aria-disabled", String(state !== "open"));
}

// Behind a load balancer the page may come from one instance and the WebSocket from another. A script cannot read the headers of a 101, but
// it can read the short-lived cookie that comes with it, named by a key that only this attempt knows.
function servingNode(key) {
  const name = `fanfare_demo_${key}`;
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`));
  document.cookie = `${name}=; Max-Age=0; Path=/; SameSite=Strict`;
  return found ? decodeURIComponent(found.slice(name.length + 1)) : null;
}

function showNode(node) {
  byId("node-label").textContent = node ? "Instance" : "Page from";
  byId("node").textContent = node ?? about("node");
}

// ---- sending and receiving

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = textField.value.trim();
  const from = nameField.value.trim();
  if (!text || !from) return;
  if (!connection?.isOpen) return note("Not connected: your text stays in its field.");
  const id = `${tab}-${sequence++}`;
  unconfirmed.set(id, { text, sentAt: performance.now() });
  connection.say(JSON.stringify({ type: "chat", id, from, text, at: Date.now() }));
  textField.value = "";
  textField.focus();
  toNewest();
});

function receive(json) {
  const message = asChat(json);
  if (!message) return show(foreign(json));
  const own = unconfirmed.get(message.id);
  if (!own) return show(chat(message, null));
  unconfirmed.delete(message.id);
  const roundTrip = performance.now() - own.sentAt;
  measure(roundTrip);
  show(chat(message, roundTrip));
}

function asChat(json) {
  let value;
  try { value = JSON.parse(json); } catch { return null; }
  const isChat = value?.type === "chat" && typeof value.text === "string" && typeof value.from === "string";
  return isChat ? value : null;
}

function measure(roundTrip) {
  roundTrips.push(roundTrip);
  if (roundTrips.length > ROUND_TRIPS_KEPT) roundTrips.shift();
  const sorted = [...roundTrips].sort((a, b) => a - b);
  byId("latency").textContent = millis(roundTrip);
  byId("median").textContent = millis(sorted[sorted.length >> 1]);
}

function millis(value) {
  return `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
}

function reportUnconfirmed() {
  for (const { text } of unconfirmed.values()) note(`Not known to have arrived: “${text}”`);
  unconfirmed.clear();
}

// ---- the log

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function chat(message, roundTrip) {
  const at = new Date(message.at);
  const when = typeof message.at === "number" && !Number.isNaN(at.getTime()) ? at : new Date();
  const item = element("div", `message tint-${tint(message.from)}`);
  item.classList.toggle("own", roundTrip !== null);
  const sameAuthor = previous?.from === message.from && previous.own === (roundTrip !== null);
  item.classList.toggle("follows", sameAuthor && Math.abs(when - previous.at) < GROUP_WITHIN_MS);
  previous = { from: message.from, own: roundTrip !== null, at: when };

  const head = element("div", "head");
  const author = element("bdi", "author", message.from || "somebody");
  const time = element("time", "", when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = when.toISOString();
  head.append(author, " ", time);
  const body = element("p", "body", message.text);
  body.dir = "auto";
  item.append(head, body);
  if (roundTrip !== null) item.append(element("p", "foot", `back in ${millis(roundTrip)}`));
  return item;
}

// JSON of another shape comes from other applications on the channel: shown as it came.
function foreign(json) {
  previous = null;
  const item = element("div", "message foreign");
  const head = element("div", "head", "JSON of another application");
  item.append(head, element("p", "body", json));
  return item;
}

function note(words) {
  previous = null;
  show(element("div", "note", words));
}

function show(item) {
  const follow = isAtNewest();
  log.append(item);
  while (log.childElementCount > SHOWN_AT_MOST) log.firstElementChild.remove();
  if (follow) toNewest(); else byId("newest").hidden = false;
}

function isAtNewest() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

function toNewest() {
  log.scrollTop = log.scrollHeight;
  byId("newest").hidden = true;
}

function tint(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return sum % 7;
}

byId("newest").addEventListener("click", () => { toNewest(); textField.focus(); });
log.addEventListener("scroll", () => { if (isAtNewest()) byId("newest").hidden = true; });
addEventListener("resize", () => { if (byId("newest").hidden) toNewest(); });

// ---- the name

function remembered() {
  try { return localStorage.getItem("fanfare-name"); } catch { return null; }
}

nameField.value = remembered() || `guest-${randomHex(2)}`;
nameField.addEventListener("change", () => {
  try { localStorage.setItem("fanfare-name", nameField.value.trim()); } catch { /* private mode: the name lives as long as the tab */ }
});

byId("dialects").hidden = about("centrifuge") !== "yes";
connect();
textField.focus();
