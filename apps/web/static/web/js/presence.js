// Whether a device is there, as an event says it.

import { touch } from "./refresh.js";
import { texts } from "./texts.js";

export function showPresence(place, presence) {
  touch(place);
  place.dataset.presence = presence;
  const pill = place.querySelector("[data-slot=presence]");
  pill.className = `presence presence-${presence}`;
  pill.textContent = texts.presence[presence];
}
