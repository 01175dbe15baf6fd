// Current values of sensors: drawn once a frame, never back in time.

import { setAge } from "./clock.js";
import { valueText } from "./format.js";
import { oncePerFrame } from "./frames.js";

const FLASHES = 40; // a frame; beyond that a flash tells nobody anything

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
    let flashes = isCalm.matches ? 0 : FLASHES;
    for (const [id, { value, date }] of waiting) {
      const place = places.get(id);
      if (!place || date < timeOf(place)) continue;
      const isChange = show(place, value, date, moments);
      if (isChange && flashes-- > 0) flash(place);
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
  const isChange = slot.textContent !== words;
  if (isChange) slot.textContent = words;
  if (place.dataset.kind === "text") slot.title = words;
  setAge(place.querySelector("[data-slot=age]"), date).title = moments.title(date);
  return isChange;
}

function flash(place) {
  place.animate([{ boxShadow: "inset 0 0 0 2px var(--accent)" }, { boxShadow: "none" }], 700);
}
