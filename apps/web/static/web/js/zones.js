// Moments in the site's zone, with the reader's own beside where that differs.

import { fill, language, texts } from "./texts.js";

// Days first and 24 hours, as the server writes them.
const locale = language === "en" ? "en-GB" : language;
const MOMENT = {
  day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
};
const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Return the zone, or UTC if this browser has never heard of it. */
export function known(zone) {
  try {
    Intl.DateTimeFormat("en", { timeZone: zone });
    return zone;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return "UTC";
  }
}

const wallClocks = new Map();

/** Return the moment as `<input type=datetime-local>` says it in that zone. */
export function toLocal(date, zone) {
  if (!wallClocks.has(zone)) {
    wallClocks.set(zone, new Intl.DateTimeFormat("en-GB", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit",
      hour: "2-digit", minute: "2-digit", second: "2-digit",
    }));
  }
  const parts = {};
  for (const { type, value } of wallClocks.get(zone).formatToParts(date)) parts[type] = value;
  const { year, month, day, hour, minute, second } = parts;
  return `${year.padStart(4, "0")}-${month}-${day}T${hour}:${minute}:${second}`;
}

/** Return the moment that such a text means there; null if it is none. */
export function fromLocal(text, zone) {
  const wanted = Date.parse(`${text}Z`);
  if (Number.isNaN(wanted)) return null;
  let guess = wanted;
  for (let turn = 0; turn < 2; turn += 1) { // twice: the first guess may be across a change
    guess += wanted - Date.parse(`${toLocal(new Date(guess), zone)}Z`);
  }
  return new Date(guess);
}

const perZone = new Map();

/** Return how to write moments of a site. */
export function momentsOf(siteZone) {
  if (!perZone.has(siteZone)) perZone.set(siteZone, writersOf(siteZone));
  return perZone.get(siteZone);
}

function writersOf(siteZone) {
  const zone = known(siteZone);
  const format = (options, timeZone = zone) => new Intl.DateTimeFormat(locale, { timeZone, ...options });
  const full = format(MOMENT);
  const own = format(MOMENT, ownZone);
  const ownClock = format({ hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" }, ownZone);
  const text = (date) => full.format(date);
  const yours = (date) => {
    const [there, here] = [zone, ownZone].map((each) => toLocal(date, each));
    if (there === here) return "";
    const isSameDay = there.slice(0, 10) === here.slice(0, 10);
    return fill(texts.yours, { time: (isSameDay ? ownClock : own).format(date) });
  };
  const title = (date) => [text(date), yours(date)].filter(Boolean).join(" · ");
  return { zone, format, text, yours, title };
}

/** Write the reader's own time into every moment of the page; morph.js leaves it there. */
export function showYours() {
  const [only] = document.querySelectorAll("[data-zone]"); // a page has one, or every item its own
  for (const time of document.querySelectorAll("[data-live] time[datetime]:not([data-age], [data-until])")) {
    const place = time.closest("[data-zone]") ?? only;
    const known = time.querySelector(".yours");
    if (!place || known?.dataset.of === time.dateTime) continue;
    known?.remove();
    const words = momentsOf(place.dataset.zone).yours(new Date(time.dateTime));
    if (!words) continue;
    const small = document.createElement("small");
    small.className = "yours";
    small.dataset.of = time.dateTime;
    small.textContent = ` ${words}`;
    time.append(small);
  }
}
