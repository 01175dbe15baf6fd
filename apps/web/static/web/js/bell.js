// The bell keeps the last notices of this tab, also from page to page.

const MOST = 50;
const SETTLE_MS = 500; // many may come at once

const panel = document.getElementById("bell-panel");
const list = document.getElementById("bell-list");
const count = document.getElementById("bell-count");
const clear = document.getElementById("bell-clear");
const empty = document.getElementById("bell-empty");
// Of this person alone: others may log in on the same tab.
const key = `guardiano.bell.${panel.dataset.person}`;
const { lang } = document.documentElement;
const clock = new Intl.DateTimeFormat(lang, { timeStyle: "medium" });
const full = new Intl.DateTimeFormat(lang, { dateStyle: "full", timeStyle: "long" });

let notices = read();
let settling;

function read() {
  try {
    const found = JSON.parse(sessionStorage.getItem(key) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch (error) {
    console.info("notices are not kept:", error.name); // storage is forbidden here
    return [];
  }
}

function write() {
  try {
    sessionStorage.setItem(key, JSON.stringify(notices));
  } catch (error) {
    console.info("notices are not kept:", error.name);
  }
}

/** @param {{text: string, tone: string, url?: string}[]} fresh the newest last */
export function keep(fresh) {
  const at = new Date().toISOString();
  const isNew = !panel.matches(":popover-open");
  notices = [...fresh.map((notice) => ({ ...notice, at, isNew })).reverse(), ...notices].slice(0, MOST);
  settling ??= setTimeout(settle, SETTLE_MS);
  show();
}

function settle() {
  clearTimeout(settling);
  settling = undefined;
  write();
  list.replaceChildren(...notices.map(item));
}

function show() {
  const unread = notices.filter(({ isNew }) => isNew).length;
  count.textContent = unread;
  count.hidden = unread === 0;
  empty.hidden = notices.length > 0;
  clear.hidden = notices.length === 0;
  if (panel.matches(":popover-open")) list.replaceChildren(...notices.map(item));
}

function item({ text, tone, url, at, isNew }) {
  const element = document.createElement("li");
  element.className = `tone-${tone}`;
  element.classList.toggle("is-new", isNew);
  const words = document.createElement(url ? "a" : "span");
  if (url) words.href = url;
  words.textContent = text;
  const time = document.createElement("time");
  const date = new Date(at);
  time.dateTime = at;
  time.textContent = clock.format(date);
  time.title = full.format(date);
  element.append(words, time);
  return element;
}

panel.addEventListener("toggle", ({ newState }) => {
  if (newState === "open") {
    show();
    count.hidden = true; // what is new stays marked for as long as it is read
    return;
  }
  notices = notices.map((notice) => ({ ...notice, isNew: false }));
  write();
  show();
});
window.addEventListener("pagehide", settle);
clear.addEventListener("click", () => {
  notices = [];
  write();
  show();
});
show();
