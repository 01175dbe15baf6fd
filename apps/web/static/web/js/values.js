// Current values of a device's sensors: drawn once a frame, never back in time.

import { newAge, setMoment } from "./clock.js";
import { valueText } from "./format.js";
import { oncePerFrame } from "./frames.js";

const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

export const timeOf = (element) => (element.dataset.at ? Date.parse(element.dataset.at) : -Infinity);

/**
 * Keep the values below `root` up to date.
 *
 * @returns {{find: () => void, has: (id: number) => boolean, take: (id: number, value: *, date: Date) => void}}
 */
export function keepValues(root, moments) {
  let places = new Map();
  const waiting = new Map(); // id -> { value, date }
  const draw = oncePerFrame(() => {
    for (const [id, { value, date }] of waiting) {
      const place = places.get(id);
      if (place && date >= timeOf(place)) show(place, value, date, moments);
    }
    waiting.clear();
  });
  return {
    find() {
      const found = root.querySelectorAll("[data-sensor-id]");
      places = new Map([...found].map((place) => [Number(place.dataset.sensorId), place]));
    },
    has: (id) => places.has(id),
    take(id, value, date) {
      waiting.set(id, { value, date });
      draw();
    },
  };
}

function show(place, value, date, moments) {
  place.dataset.at = date.toISOString();
  if (typeof value === "string") place.dataset.kind = "text";
  else if (place.dataset.kind === "text") place.dataset.kind = "number";
  const words = valueText(value, place.dataset.kind);
  const slot = place.querySelector("[data-slot=value]");
  if (slot.textContent !== words) {
    slot.textContent = words;
    flash(place);
  }
  if (place.dataset.kind === "text") slot.title = words;
  const age = place.querySelector("[data-slot=age]");
  const time = age.querySelector("time[data-age]") ?? newAge(date);
  if (time.isConnected) setMoment(time, date);
  else age.replaceChildren(time);
  time.title = moments.text(date);
}

function flash(place) {
  if (isCalm.matches) return;
  place.animate([{ boxShadow: "inset 0 0 0 2px var(--accent)" }, { boxShadow: "none" }], 700);
}
