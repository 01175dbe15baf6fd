// Tells people what happened: to the eye for a moment, to the ear, and to the bell.

import { keep } from "./bell.js";

const SHOWN_MS = 5000;
const ERROR_SHOWN_MS = 10000;

const place = document.getElementById("toasts");
const announcer = document.getElementById("announcer");
let timer;

/** @param {{text: string, tone: string, url?: string}} notice tone as of a badge */
export function notify(notice) {
  keep([notice]);
  say(notice.text, notice.tone);
}

/** Keep every notice; show and say one sentence for all of them. */
export function notifyMany(notices, summary) {
  keep(notices);
  say(summary, "grey");
}

function say(text, tone) {
  const toast = document.createElement("p");
  toast.className = `toast tone-${tone}`;
  toast.textContent = text;
  toast.title = text;
  place.replaceChildren(toast); // one at a time; the bell has the others
  announcer.textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => toast.remove(), tone === "red" ? ERROR_SHOWN_MS : SHOWN_MS);
}
