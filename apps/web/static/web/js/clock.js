// Keeps ages and countdowns moving, by the server's clock.

import { ageText } from "./format.js";
import { fill, texts } from "./texts.js";
import { momentsOf } from "./zones.js";

const AGES_EVERY_S = 5; // ages under a minute move in steps of ten seconds

const started = document.getElementById("control").dataset.now;
// Since the server wrote that, this page has been loading.
const [navigation] = performance.getEntriesByType("navigation");
const loading = navigation ? performance.now() - navigation.responseStart : 0;
const offset = Date.parse(started) - (Date.now() - loading); // a browser's clock may be wrong

export const serverNow = () => Date.now() + offset;

const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export function showAge(time) {
  write(time, ageText(serverNow() - Date.parse(time.dateTime)));
}

/** Point a `<time>` at another moment. */
export function setMoment(time, date) {
  time.dateTime = date.toISOString();
  showAge(time);
}

export function newAge(date) {
  const time = document.createElement("time");
  time.dataset.age = "";
  setMoment(time, date);
  return time;
}

/** Say how long ago in a place that may say nothing yet; return its `<time>`. */
export function setAge(place, date) {
  let time = place.querySelector("time[data-age]");
  if (time) {
    setMoment(time, date);
  } else {
    time = newAge(date);
    place.replaceChildren(time);
  }
  return time;
}

function showCountdown(time) {
  const n = Math.ceil((Date.parse(time.dateTime) - serverNow()) / 1000);
  write(time, n > 0 ? fill(texts.nextTry, { n }) : texts.tryingNow);
}

export function showTimes() {
  document.querySelectorAll("time[data-age]").forEach(showAge);
  document.querySelectorAll("time[data-age]:hover").forEach(showMoment);
  document.querySelectorAll("time[data-until]").forEach(showCountdown);
}

/** Say a moment in the site's zone, and in the reader's, when somebody points at its age. */
function showMoment(time) {
  const zone = time.closest("[data-zone]")?.dataset.zone;
  if (zone) time.title = momentsOf(zone).title(new Date(time.dateTime));
}

document.addEventListener("pointerover", ({ target }) => {
  const time = target.closest?.("time[data-age]");
  if (time) showMoment(time);
});

/** Move the times, and call `everySecond` after each step. */
export function startClock(everySecond) {
  let seconds = 0;
  showTimes();
  setInterval(() => {
    seconds += 1;
    if (seconds % AGES_EVERY_S === 0) showTimes();
    else document.querySelectorAll("time[data-until]").forEach(showCountdown);
    everySecond();
  }, 1000);
}
