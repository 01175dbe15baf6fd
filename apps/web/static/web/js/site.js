// One site: its connection, and its devices' presence and values as they come.

import { newAge, setMoment, serverNow } from "./clock.js";
import { momentWriter, valueText } from "./format.js";
import { oncePerFrame } from "./frames.js";
import { goLive } from "./live.js";
import { touch } from "./refresh.js";
import { isPart, takeForms } from "./site_submit.js";
import { texts } from "./texts.js";

const REFRESH_EVERY_MS = 60000;
const FLASHES = 40; // a frame; beyond that a flash tells nobody anything

const page = document.getElementById("live");
const momentText = momentWriter(page.dataset.zone);
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

let sensors = new Map(); // id -> element
const waiting = new Map(); // id -> { value, date }, drawn with the next frame
const strangers = new Set(); // ids asked for already: they may be on another page
let epoch, lastSeq;

function findSensors() {
  const found = page.querySelectorAll("[data-sensor-id]");
  sensors = new Map([...found].map((element) => [Number(element.dataset.sensorId), element]));
}

const timeOf = (element) => (element.dataset.at ? Date.parse(element.dataset.at) : -Infinity);

function draw() {
  let flashes = isCalm.matches ? 0 : FLASHES;
  for (const [id, { value, date }] of waiting) {
    const element = sensors.get(id);
    if (!element || date < timeOf(element)) continue; // never back in time
    const isChange = drawSensor(element, value, date);
    if (isChange && flashes-- > 0) {
      element.animate([{ boxShadow: "inset 0 0 0 2px var(--accent)" }, { boxShadow: "none" }], 700);
    }
  }
  waiting.clear();
}

const askToDraw = oncePerFrame(draw);

function drawSensor(element, value, date) {
  element.dataset.at = date.toISOString();
  if (typeof value === "string") element.dataset.kind = "text";
  else if (element.dataset.kind === "text") element.dataset.kind = "number";
  const text = valueText(value, element.dataset.kind);
  const place = element.querySelector("[data-slot=value]");
  const isChange = place.textContent !== text;
  if (isChange) place.textContent = text;
  if (element.dataset.kind === "text") place.title = text;
  const time = setAge(element.querySelector("[data-slot=age]"), date);
  time.title = momentText(date);
  return isChange;
}

function setAge(place, date) {
  const time = place.querySelector("time[data-age]");
  if (time) {
    setMoment(time, date);
    return time;
  }
  const fresh = newAge(date);
  place.replaceChildren(fresh);
  return fresh;
}

/** Ask the server for what this page does not know, once for each. */
function meetStranger(name, refresh) {
  if (strangers.has(name)) return;
  strangers.add(name);
  refresh(Math.random() * 1000);
}

function hasGap(data) {
  const isOther = epoch !== undefined && data.epoch !== epoch;
  const isGap = isOther || (lastSeq !== undefined && data.seq > lastSeq + 1);
  epoch = data.epoch;
  lastSeq = data.seq;
  return isGap;
}

const handlers = (refresh) => ({
  telemetry(data) {
    if (data.epoch === epoch && data.seq <= lastSeq) return; // seen already
    if (hasGap(data)) refresh(Math.random() * 1000);
    askToDraw();
    for (const { sensor_id: id, value, at } of data.values) {
      waiting.set(id, { value, date: new Date(at) });
      if (!sensors.has(id)) meetStranger(`sensor ${id}`, refresh);
    }
    const last = page.querySelector("[data-slot=last-message]");
    setAge(last, new Date(serverNow()));
  },
  device(data) {
    const kind = data.gateway_id === undefined ? "datalogger" : "gateway";
    const id = Number(data[`${kind}_id`]);
    const element = page.querySelector(`[data-${kind}-id="${id}"]`);
    if (element) {
      touch(element);
      element.dataset.presence = data.presence;
      const pill = element.querySelector("[data-slot=presence]");
      pill.className = `presence presence-${data.presence}`;
      pill.textContent = texts.presence[data.presence];
      element.querySelector("[data-slot=cause]")?.replaceChildren(); // comes with the refetch
    } else {
      meetStranger(`${kind} ${id}`, refresh);
    }
    refresh(1000 + Math.random() * 1000); // how many are online
  },
});

findSensors();
const refresh = goLive(`/events/sites/${page.dataset.site}/`, REFRESH_EVERY_MS, {
  handlers,
  onApplied: findSensors,
  onOpen() { epoch = lastSeq = undefined; },
  isKept: (have, want) => isPart(have)
    || ("sensorId" in have.dataset && timeOf(have) > timeOf(want)),
});
takeForms(refresh);
