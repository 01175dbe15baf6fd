// What the list of sites and the page of one site have in common.

import { showTimes, startClock } from "./clock.js";
import { oncePerFrame } from "./frames.js";
import { notifyAll } from "./notices.js";
import { makeRefresh } from "./refresh.js";
import { asked, isBusy, listenToButtons, showControls, showSlowOnes, showStatus } from "./status.js";
import { keepStream } from "./stream.js";
import { fill, texts } from "./texts.js";
import { showYours } from "./zones.js";

const JITTER_MS = 3000; // after an outage all pages come back, but not at once
const SETTLED = new Set(["connected", "disconnected", "error"]);

const waiting = new Map(); // site id -> its last status event, drawn with the next frame
// site id -> the last status that was no change under way. A broker that cannot be
// reached is tried for ever: that it fails again is no news.
const settled = new Map();
let places = new Map(); // site id -> element

/** Look anew where each site is shown. */
export function findPlaces() {
  const found = document.querySelectorAll("[data-site-id]");
  places = new Map([...found].map((place) => [Number(place.dataset.siteId), place]));
  for (const [id, { dataset }] of places) {
    if (SETTLED.has(dataset.status)) settled.set(id, dataset.status);
  }
}

function drawStatuses() {
  const news = [];
  for (const [id, data] of waiting) {
    const place = places.get(id);
    if (place) showStatus(place, data);
    // What came of a button may overtake the response to it, but is told after it.
    if (place && isBusy(place)) continue;
    waiting.delete(id);
    if (!place || !SETTLED.has(data.status)) continue;
    const isAnswer = asked.delete(id);
    if (isAnswer || settled.get(id) !== data.status) news.push(noticeOf(place, data));
    settled.set(id, data.status);
  }
  notifyAll(news, (n) => fill(texts.manyChanged, { n }));
}

let onStatus = () => {};
const draw = oncePerFrame(() => {
  drawStatuses();
  onStatus();
});

/** Take a status event; all of one frame are drawn at once, of each site the last. */
export function receiveStatus(data) {
  waiting.set(Number(data.site_id), data);
  draw();
}

function noticeOf(place, { status, reason }) {
  const badge = texts.badges[status];
  const words = fill(texts.announce, { site: place.dataset.name, status: badge.text });
  const why = texts.reasons[reason ?? ""];
  const text = why ? `${words} (${why})` : words;
  return { text, tone: badge.tone, url: `/sites/${place.dataset.siteId}/` };
}

/**
 * Make the page live.
 *
 * @param {string} url the stream
 * @param {number} refreshEveryMs slow refetch: an event may be lost without a trace
 * @param {object} own `handlers` by event name, `isKept`, `onApplied`, `onOpen`, `onStatus`
 * @returns {(afterMs?: number) => void} refresh
 */
export function goLive(url, refreshEveryMs, own) {
  // A form pressed before its script was there: its own address shows nothing to look at.
  const { address } = document.body.dataset;
  if (address) history.replaceState(null, "", address);
  const refresh = makeRefresh(
    (have, want) => isBusy(have) || (own.isKept?.(have, want) ?? false),
    () => {
      findPlaces();
      showTimes();
      showYours();
      places.forEach(showControls);
      own.onApplied?.();
    },
  );
  const resync = () => refresh(Math.random() * JITTER_MS);
  onStatus = own.onStatus ?? onStatus;
  const status = (data) => {
    receiveStatus(data);
    refresh(300 + Math.random() * 700); // since when, why, the timeline
  };
  const handlers = { status, resync, "stream-reset": resync, ...own.handlers?.(refresh) };
  const onOpen = (isFirst) => {
    own.onOpen?.();
    // Between the page and its stream something may have happened, too.
    refresh(isFirst ? 0 : Math.random() * JITTER_MS);
  };
  findPlaces();
  showYours();
  keepStream(url, handlers, onOpen, () => refresh(JITTER_MS));
  listenToButtons(() => {
    draw();
    refresh(1000);
  });
  startClock(showSlowOnes);
  setInterval(() => { if (!document.hidden) refresh(); }, refreshEveryMs);
  return refresh;
}

/** Rows that a finger moves: what has the focus, and the tab of this page, are wholly in view. */
function bringIntoView(element) {
  if (element?.closest(".chips, .tabs")) element.scrollIntoView({ block: "nearest", inline: "center" });
}

document.addEventListener("focusin", ({ target }) => bringIntoView(target));
bringIntoView(document.querySelector(".tabs [aria-current]"));
