// Fetches the same page again and morphs its live parts: the server is the truth.

import { morph } from "./morph.js";

const APART_MS = 2000; // a storm of events becomes one fetch every two seconds
const TIMEOUT_MS = 15000;
const RETRY_MS = 5000;

const touched = new WeakMap(); // element -> when an event changed it last

/** An event says more about this element than any page asked for before now. */
export function touch(element) {
  touched.set(element, performance.now());
}

/**
 * Return `refresh(afterMs)`.
 *
 * @param {(have: Element, want: Element) => boolean} isKept elements to leave alone
 * @param {() => void} onApplied called after each morph
 */
export function makeRefresh(isKept, onApplied) {
  let timer = null;
  let due = Infinity;
  let isRunning = false;
  let isWantedAgain = false;
  let endedAt = -Infinity;

  function refresh(afterMs = 0) {
    if (isRunning) {
      isWantedAgain = true;
      return;
    }
    const at = Math.max(performance.now() + afterMs, endedAt + APART_MS);
    if (at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(run, at - performance.now());
  }

  async function run() {
    due = Infinity;
    isRunning = true;
    isWantedAgain = false;
    const isApplied = await load(isKept);
    if (isApplied) onApplied();
    isRunning = false;
    endedAt = performance.now();
    if (!isApplied) refresh(RETRY_MS + Math.random() * 3000);
    else if (isWantedAgain) refresh();
  }

  return refresh;
}

async function load(isKept) {
  const askedAt = performance.now();
  let html;
  try {
    const response = await fetch(location.href, {
      cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    // Logged out, or the site is gone: the browser itself shows what there is now.
    const isElsewhere = response.redirected || [401, 403, 404].includes(response.status);
    if (isElsewhere) location.reload();
    if (isElsewhere || !response.ok) return false;
    html = await response.text();
  } catch (error) {
    // The banner tells people. A page that is being left fails as well, and says nothing.
    setTimeout(() => console.warn("refresh failed:", error.name), 1000);
    return false;
  }
  apply(new DOMParser().parseFromString(html, "text/html"), askedAt, isKept);
  return true;
}

function apply(fresh, askedAt, isKept) {
  const isNewer = (have, want) => (touched.get(have) ?? 0) > askedAt || isKept(have, want);
  for (const part of document.querySelectorAll("[data-live]")) {
    const want = fresh.getElementById(part.id);
    if (want) morph(part, want, isNewer);
  }
}
