// What the list of sites and the page of one site have in common.

import { showTimes, startClock } from "./clock.js";
import { makeRefresh } from "./refresh.js";
import { announce, isBusy, listenToButtons, placeOf, showControls, showSlowOnes, showStatus } from "./status.js";
import { keepStream } from "./stream.js";

const JITTER_MS = 3000; // after an outage all pages come back, but not at once

/**
 * Make the page live.
 *
 * @param {string} url the stream
 * @param {number} refreshEveryMs slow refetch: an event may be lost without a trace
 * @param {object} own `handlers` by event name, `isKept`, `onApplied`, `onOpen`
 * @returns {(afterMs?: number) => void} refresh
 */
export function goLive(url, refreshEveryMs, own) {
  const refresh = makeRefresh(
    (have, want) => isBusy(have) || (own.isKept?.(have, want) ?? false),
    () => {
      showTimes();
      document.querySelectorAll("[data-site-id]").forEach(showControls);
      own.onApplied?.();
    },
  );
  const resync = () => refresh(Math.random() * JITTER_MS);
  const status = (data) => {
    const place = placeOf(data.site_id);
    if (place) {
      showStatus(place, data);
      announce(place);
      own.onStatus?.();
    }
    refresh(300 + Math.random() * 700); // since when, why, the timeline
  };
  const handlers = { status, resync, "stream-reset": resync, ...own.handlers?.(refresh) };
  const onOpen = (isFirst) => {
    own.onOpen?.();
    // Between the page and its stream something may have happened, too.
    refresh(isFirst ? 0 : Math.random() * JITTER_MS);
  };
  keepStream(url, handlers, onOpen, () => refresh(JITTER_MS));
  listenToButtons(refresh);
  startClock(showSlowOnes);
  setInterval(() => { if (!document.hidden) refresh(); }, refreshEveryMs);
  return refresh;
}
