// One Server-Sent Events stream that comes back by itself.

import { showAway } from "./banner.js";

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 15000;
const HIDDEN_AFTER_MS = 60000; // browsers allow six streams a server over all tabs

/**
 * Keep a stream open while the page can be seen.
 *
 * @param {string} url
 * @param {Object<string, (data: object) => void>} handlers by event name
 * @param {(isFirst: boolean) => void} onOpen events may have been missed: refetch
 * @param {() => void} onRefused it did not come back at once: perhaps we are logged out
 */
export function keepStream(url, handlers, onOpen, onRefused) {
  let source = null;
  let opens = 0;
  let failures = 0;
  let retryTimer, hiddenTimer;

  function open() {
    clearTimeout(retryTimer);
    source?.close();
    source = new EventSource(url);
    source.onopen = () => {
      failures = 0;
      showAway(false);
      onOpen(opens === 0);
      opens += 1;
    };
    source.onerror = () => retry();
    // The server is there but hears nothing itself; `resync` says that it does again.
    source.addEventListener("away", () => showAway(true));
    source.addEventListener("resync", () => showAway(false));
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(event.data ? JSON.parse(event.data) : {}));
    }
    source.addEventListener("stream-error", () => retry());
  }

  function close() {
    clearTimeout(retryTimer);
    source?.close();
    source = null;
  }

  // Ours, not the browser's: that one gives up for good after an answer such as 502.
  function retry() {
    close();
    showAway(true);
    const wait = Math.min(FIRST_RETRY_MS * 2 ** failures, LAST_RETRY_MS);
    failures += 1;
    if (failures > 1) onRefused();
    retryTimer = setTimeout(open, wait + Math.random() * FIRST_RETRY_MS);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(close, HIDDEN_AFTER_MS);
    else if (!source) open();
  });
  window.addEventListener("online", open);
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  open();
}
