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

/** Return how to write moments of a site. */
export function momentsOf(siteZone) {
  const zone = known(siteZone);
  const format = (options, timeZone = zone) => new Intl.DateTimeFormat(locale, { timeZone, ...options });
  const full = format(MOMENT);
  const own = format(MOMENT, ownZone);
  const text = (date) => full.format(date);
  const yours = (date) => {
    const isSame = toLocal(date, zone) === toLocal(date, ownZone);
    return isSame ? "" : fill(texts.chart.yours, { time: own.format(date) });
  };
  return { zone, format, text, yours };
}

/** Put the reader's own time beside every written moment of an element. */
export function showYours(root, moments) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-age], [data-until])")) {
    if (time.nextElementSibling?.classList.contains("yours")) continue;
    const words = moments.yours(new Date(time.dateTime));
    if (!words) continue;
    const small = document.createElement("small");
    small.className = "yours";
    small.textContent = words;
    time.after(small);
  }
}
