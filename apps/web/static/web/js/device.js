// What the pages of a datalogger and of a sensor share: the site's stream, values, presence.

import { goLive } from "./live.js";
import { Order } from "./order.js";
import { showPresence } from "./presence.js";
import { texts } from "./texts.js";
import { keepValues, timeOf } from "./values.js";
import { momentsOf } from "./zones.js";

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
  const order = new Order();

  function applied() {
    values.find();
    listeners.onApplied?.();
  }

  const handlers = (refresh) => ({
    telemetry(data) {
      const { isSeen, isMissed } = order.take(data);
      if (isSeen) return;
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
      showPresence(place, data.presence);
      place.querySelector("[data-slot=cause]").textContent = texts.causes[data.cause ?? ""] ?? "";
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
      order.reset();
      opens += 1;
      if (opens > 1) listeners.onMissed?.();
    },
    isKept: (have, want) => "sensorId" in have.dataset && timeOf(have) > timeOf(want),
  });
  applied();
  return refresh;
}
