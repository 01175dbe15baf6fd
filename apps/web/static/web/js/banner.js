// Says that nobody tells us what happens, and greys what may be old by now.

import { notify } from "./notices.js";
import { texts } from "./texts.js";

const AFTER_MS = 1500; // a page that is being left loses its stream as well

const banner = document.getElementById("banner");
const missing = new Set(); // "stream": no event can come; "page": it could not be asked for again
let timer;

export function showAway(isAway, what = "stream") {
  if (isAway) missing.add(what);
  else missing.delete(what);
  if (!missing.size) {
    clearTimeout(timer);
    timer = undefined;
    if (!banner.hidden) notify({ text: texts.isBack, tone: "green" });
    set(false);
    return;
  }
  timer ??= setTimeout(() => set(true), AFTER_MS);
}

function set(isAway) {
  banner.hidden = !isAway;
  document.documentElement.classList.toggle("is-away", isAway);
}
