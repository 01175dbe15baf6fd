// Tells people what happened: to the eye for a moment, to the ear, and to the bell.

import { keep } from "./bell.js";

const SHOWN_MS = 5000;
const ERROR_SHOWN_MS = 10000;
const APART_MS = 1000; // nobody reads or hears more sentences than that

const place = document.getElementById("toasts");
const announcer = document.getElementById("announcer");
let timer, apart;
let crowd = []; // happened since the last sentence about several things

/** @param {{text: string, tone: string, url?: string}} notice tone as of a badge */
export function notify(notice) {
  keep([notice]);
  say(notice.text, notice.tone);
}

/**
 * Keep every notice. Show and say the first one, then one sentence a second for the others.
 *
 * @param {{text: string, tone: string, url?: string}[]} notices
 * @param {(n: number) => string} summaryOf
 */
export function notifyAll(notices, summaryOf) {
  if (notices.length === 0) return;
  keep(notices);
  crowd.push(...notices);
  apart ??= tell(summaryOf);
}

function tell(summaryOf) {
  if (crowd.length === 0) return undefined;
  const [{ text, tone }] = crowd;
  if (crowd.length === 1) say(text, tone);
  else say(summaryOf(crowd.length), "grey");
  crowd = [];
  return setTimeout(() => { apart = tell(summaryOf); }, APART_MS);
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
