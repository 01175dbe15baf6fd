// Fetches the same page again and morphs its live parts: the server is the truth.

import { showAway } from "./banner.js";
import { morph, morphShell } from "./morph.js";

const APART_MS = 2000; // a storm of events becomes one fetch every two seconds,
const REST = 20; // or less: 5 % of a slow machine's time may go into it,
const MOST_REST_MS = 20000; // but a machine that slept in the middle is not slow
// The list of 300 sites has 500,000 letters and 60,000 nodes: people press and scroll meanwhile.
const SLICE = 32768; // letters parsed at once, 1 to 5 ms
const SLICE_MS = 25; // of morphing at once; most pages need less
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
  let rest = 0;

  function refresh(afterMs = 0) {
    if (isRunning) {
      isWantedAgain = true;
      return;
    }
    const at = Math.max(performance.now() + afterMs, endedAt + Math.max(APART_MS, rest));
    if (at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(run, at - performance.now());
  }

  async function run() {
    due = Infinity;
    isRunning = true;
    isWantedAgain = false;
    const fresh = await load();
    const isApplied = fresh !== null;
    showAway(!isApplied, "page"); // the stream may be well while the database is not
    if (isApplied) {
      const startedAt = performance.now();
      await apply(fresh.page, fresh.askedAt, isKept);
      onApplied();
      rest = Math.min((performance.now() - startedAt) * REST, MOST_REST_MS);
    }
    isRunning = false;
    endedAt = performance.now();
    if (!isApplied) refresh(RETRY_MS + Math.random() * 3000);
    else if (isWantedAgain) refresh();
  }

  return refresh;
}

/** Return the page as it is now, and when it was asked for; null if it did not come. */
async function load() {
  const askedAt = performance.now();
  let html;
  try {
    const response = await fetch(location.href, {
      cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    // Logged out, or the site is gone: the browser itself shows what there is now.
    const isElsewhere = response.redirected || [401, 403, 404].includes(response.status);
    if (isElsewhere) location.reload();
    if (isElsewhere || !response.ok) return null;
    html = await response.text();
  } catch (error) {
    // The banner tells people. A page that is being left fails as well, and says nothing.
    setTimeout(() => console.warn("refresh failed:", error.name), 1000);
    return null;
  }
  return { page: await parse(html), askedAt };
}

async function parse(html) {
  const page = document.implementation.createHTMLDocument(""); // runs and loads nothing
  for (let at = 0; at < html.length; at += SLICE) {
    page.write(html.slice(at, at + SLICE));
    await pause();
  }
  page.close();
  return page;
}

async function apply(page, askedAt, isKept) {
  const isNewer = (have, want) => (touched.get(have) ?? 0) > askedAt || isKept(have, want);
  const pairs = [...document.querySelectorAll("[data-live]")].flatMap((part) => {
    const want = page.getElementById(part.id);
    return want ? morphShell(part, want, isNewer) : [];
  });
  let until = performance.now() + SLICE_MS;
  for (const [have, want] of pairs) {
    morph(have, want, isNewer);
    if (performance.now() < until) continue;
    await pause();
    until = performance.now() + SLICE_MS;
  }
}

/** Let the browser do other things; a hidden page has none, and slow timers. */
function pause() {
  return document.hidden ? undefined : new Promise((resume) => { setTimeout(resume); });
}
