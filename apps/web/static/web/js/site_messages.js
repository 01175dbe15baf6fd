// The messages of a site as they come in: bounded, filtered here, and they can be held.

import { ask } from "./api.js";
import { oncePerFrame } from "./frames.js";
import { goLive } from "./live.js";
import { keepStream } from "./stream.js";
import { fill, language, texts } from "./texts.js";
import { known, momentsOf } from "./zones.js";

const REFRESH_EVERY_MS = 60000;
const WATCH_EVERY_MS = 5000; // the server forgets us after 15 s
const TIMEOUT_MS = 5000;
const KEPT = 500;

const page = document.getElementById("tail");
const list = document.getElementById("tail-list");
const empty = document.getElementById("tail-empty");
const count = document.getElementById("tail-count");
const pause = document.getElementById("tail-pause");
const query = document.getElementById("tail-q");
const wanted = document.getElementById("tail-became");
const { site, zone } = page.dataset;
const TONES = { understood: "green", unclaimed: "orange", quarantined: "red" };

const clock = clockIn(zone);
const { title } = momentsOf(zone);
const held = []; // while paused
const waiting = []; // for the next frame
let isPaused = false;
let hidden = 0; // held ones that had to go

function clockIn(timeZone) {
  const style = { hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 };
  return new Intl.DateTimeFormat(language, { ...style, timeZone: known(timeZone) });
}

async function watch() {
  if (document.hidden) return;
  try {
    await ask(`/api/v1/mqtt/sites/${site}/messages/watch/`, { method: "POST", timeoutMs: TIMEOUT_MS });
  } catch (error) {
    console.info("not watching:", error.name); // the banner tells people
  }
}

function take({ messages, skipped }) {
  const place = isPaused ? held : waiting;
  place.push(...messages);
  if (skipped) place.push({ skipped });
  if (place.length > KEPT) hidden += place.splice(0, place.length - KEPT).length;
  if (isPaused) showCount();
  else draw();
}

const draw = oncePerFrame(() => {
  const fresh = waiting.splice(0).reverse().map(item);
  list.prepend(...fresh); // the newest on top
  while (list.children.length > KEPT) list.lastElementChild.remove();
  filter(fresh);
  empty.hidden = list.children.length > 0;
});

function item(message) {
  const row = document.createElement("li");
  if (message.skipped) {
    row.className = "tail-gap";
    row.textContent = fill(texts.site.notShown, { n: message.skipped });
    return row;
  }
  row.className = `tone-${TONES[message.became]}`;
  row.dataset.became = message.became;
  row.dataset.search = `${message.topic} ${message.payload}`.toLowerCase();
  const { reasons = {} } = texts.site;
  const why = reasons[message.reason] ?? "";
  const at = new Date(message.at);
  row.append(
    make("time", "tail-time", clock.format(at), title(at)),
    make("span", "tail-became", texts.site.became[message.became], why),
    make("code", "tail-topic", message.topic),
    make("code", "tail-payload", message.payload),
    make("span", "tail-facts", facts(message)),
  );
  return row;
}

function make(name, className, text, title = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  if (title) element.title = title;
  return element;
}

function facts({ qos, retain, size }) {
  const parts = [`QoS ${qos}`, fill(texts.site.bytes, { n: size })];
  if (retain) parts.push(texts.site.retained);
  return parts.join(" · ");
}

function filter(rows = list.children) {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows) {
    if (!row.dataset.became) continue; // how many were not shown is always said
    row.hidden = (Boolean(wanted.value) && row.dataset.became !== wanted.value)
      || !words.every((word) => row.dataset.search.includes(word));
  }
}

function showCount() {
  const n = held.length + hidden;
  count.textContent = isPaused && n ? fill(texts.site.paused, { n }) : "";
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  pause.textContent = isPaused ? texts.site.resume : texts.site.pause;
  if (!isPaused) {
    if (hidden) waiting.push({ skipped: hidden });
    waiting.push(...held.splice(0));
    hidden = 0;
    draw();
  }
  showCount();
});
document.getElementById("tail-clear").addEventListener("click", () => {
  list.replaceChildren();
  held.length = 0;
  hidden = 0;
  showCount();
});
document.getElementById("tail-filter").addEventListener("submit", (event) => event.preventDefault());
query.addEventListener("input", () => filter());
wanted.addEventListener("change", () => filter());

goLive(`/events/sites/${site}/`, REFRESH_EVERY_MS, {});
keepStream(`/events/sites/${site}/messages/`, { messages: take }, watch, () => {});
setInterval(watch, WATCH_EVERY_MS);
document.addEventListener("visibilitychange", watch);
