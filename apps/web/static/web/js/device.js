// What the pages of a datalogger and of a sensor share: the site's stream, values, presence.

import { goLive } from "./live.js";
import { touch } from "./refresh.js";
import { texts } from "./texts.js";
import { keepValues, timeOf } from "./values.js";
import { momentsOf, showYours } from "./zones.js";

const REFRESH_EVERY_MS = 60000;

export const page = document.getElementById("live");
export const moments = momentsOf(page.dataset.zone);

/**
 * Make the page live.
 *
 * @param {object} listeners `onValue(id, value, date)`, `onMissed()` when values may have
 *   been lost, `onPresence()`, `onCommand(data)`, `onApplied()` after each refetch
 * @returns {(afterMs?: number) => void} refresh
 */
export function startDevice(listeners) {
  const values = keepValues(page, moments);
  let epoch, lastSeq;

  function applied() {
    values.find();
    for (const part of document.querySelectorAll("[data-live]")) showYours(part, moments);
    listeners.onApplied?.();
  }

  const handlers = (refresh) => ({
    telemetry(data) {
      if (data.epoch === epoch && data.seq <= lastSeq) return; // seen already
      const isMissed = epoch !== undefined && (data.epoch !== epoch || data.seq > lastSeq + 1);
      ({ epoch, seq: lastSeq } = data);
      for (const { sensor_id: id, value, at } of data.values) {
        const date = new Date(at);
        values.take(id, value, date);
        listeners.onValue?.(id, value, date);
      }
      if (!isMissed) return;
      refresh(Math.random() * 1000);
      listeners.onMissed?.();
    },
    device(data) {
      const place = page.querySelector(`[data-datalogger-id="${Number(data.datalogger_id)}"]`);
      if (!place) return;
      touch(place);
      showPresence(place, data);
      refresh(300 + Math.random() * 700); // since when
      listeners.onPresence?.();
    },
    command(data) {
      listeners.onCommand?.(data);
      refresh(200);
    },
    resync() {
      refresh(Math.random() * 3000);
      listeners.onMissed?.();
    },
  });

  let opens = 0;
  const refresh = goLive(`/events/sites/${page.dataset.site}/`, REFRESH_EVERY_MS, {
    handlers,
    onApplied: applied,
    onOpen() {
      epoch = lastSeq = undefined;
      opens += 1;
      if (opens > 1) listeners.onMissed?.();
    },
    isKept: (have, want) => "sensorId" in have.dataset && timeOf(have) > timeOf(want),
  });
  applied();
  return refresh;
}

function showPresence(place, { presence, cause }) {
  place.dataset.presence = presence;
  const pill = place.querySelector("[data-slot=presence]");
  pill.className = `presence presence-${presence}`;
  pill.textContent = texts.presence[presence];
  place.querySelector("[data-slot=cause]").textContent = texts.causes[cause ?? ""] ?? "";
}
