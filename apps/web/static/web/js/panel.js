// The history of some sensors: asks for it, draws it, and keeps it going.

import { ask, isAborted } from "./api.js";
import { Chart } from "./chart.js";
import { serverNow } from "./clock.js";
import { valueText } from "./format.js";
import { oncePerFrame } from "./frames.js";
import { History } from "./history.js";
import { notify } from "./notices.js";
import { Range } from "./range.js";
import { showTable } from "./table.js";
import { fill, texts } from "./texts.js";

const TAIL_EVERY_MS = 3000; // an interval that goes on is asked for again, not more often
const HEAL_EVERY_MS = 15000; // an event has a sensor's newest value alone, not all of them
const SLIDE_EVERY_MS = 5000;
const RETRY_MS = 5000;
const words = texts.chart;

export class Panel {
  /**
   * @param {HTMLElement} section `#history` of the page
   * @param {object} moments of zones.js
   * @param {() => object[]} chosen the sensors: id, kind, label, unit, series (1 to 6)
   * @param {(shown: Panel) => void} onLoaded
   */
  constructor(section, moments, chosen, onLoaded) {
    Object.assign(this, { section, moments, chosen, onLoaded });
    this.note = section.querySelector("#chart-note");
    this.readout = section.querySelector("#readout");
    this.values = section.querySelector("#values");
    this.place = section.querySelector("#chart");
    this.histories = [];
    this.periods = [];
    this.cursorAt = null;
    this.chart = new Chart(this.place, moments, {
      onZoom: (from, to) => this.range.zoom(from, to),
      onReset: () => this.range.reset(),
      onCursor: (at) => { this.cursorAt = at; this.#read(); },
    });
    this.range = new Range(section.querySelector("#range"), moments.zone, section.dataset, () => this.load());
    this.redraw = oncePerFrame(() => this.#draw());
    this.values.addEventListener("toggle", () => this.#tabulate());
    this.older = section.querySelector("#older");
    this.older.addEventListener("click", () => this.#loadOlder());
    this.place.addEventListener("focus", () => { this.readout.ariaLive = "polite"; });
    this.place.addEventListener("blur", () => { this.readout.ariaLive = "off"; });
    setInterval(() => { if (!document.hidden && this.range.isLive && this.histories.length) this.redraw(); }, SLIDE_EVERY_MS);
    this.load();
  }

  /**
   * Ask for everything again; a newer wish calls an older one off.
   *
   * @param {{isCatchUp?: boolean}} how what is shown stays if nobody answers
   */
  async load({ isCatchUp = false } = {}) {
    this.asking?.abort();
    clearTimeout(this.retryTimer);
    this.asking = new AbortController();
    this.isBehind = false;
    const { signal } = this.asking;
    const sensors = this.chosen();
    this.range.remember();
    if (!sensors.length) {
      this.isLoading = false;
      this.histories = [];
      this.chart.clear();
      this.#say(words.noSensor);
      this.onLoaded?.(this);
      return;
    }
    this.#say(words.loading, { isBusy: true });
    this.isLoading = true;
    const { question } = this.range;
    const histories = sensors.map((sensor) => new History(sensor, Number(this.section.dataset.silence)));
    try {
      await Promise.all([
        this.#loadPeriods(question, signal),
        ...histories.map((history) => history.load(question, signal)),
      ]);
    } catch (error) {
      if (isAborted(error) && signal.aborted) return;
      console.info("history:", error.name);
      if (isCatchUp && this.histories.length) this.retryTimer = setTimeout(() => this.catchUp(), RETRY_MS);
      else this.#fail(error);
      return;
    }
    if (signal.aborted) return;
    this.histories = histories;
    this.isLoading = false;
    this.tailedAt = performance.now();
    this.#draw();
    if (this.isBehind) this.#askTail(TAIL_EVERY_MS);
    this.onLoaded?.(this);
  }

  /** A value has come: show it, or ask what it makes of its interval. */
  take(id, value, date) {
    const history = this.histories.find((each) => each.id === id);
    this.isBehind ||= this.isLoading;
    if (!history || !this.range.isLive || this.isLoading) return;
    const isShown = history.append(value, date);
    if (isShown) this.redraw();
    this.#askTail(isShown ? HEAL_EVERY_MS : TAIL_EVERY_MS);
  }

  /** Presence changed, or values may have been missed. */
  catchUp() {
    if (this.range.isLive) this.load({ isCatchUp: true });
  }

  #askTail(everyMs) {
    if (this.tailTimer) return;
    const wait = Math.max(0, (this.tailedAt ?? -Infinity) + everyMs - performance.now());
    this.tailTimer = setTimeout(() => this.#tail(), wait);
  }

  async #tail() {
    const { histories, asking } = this;
    try {
      await Promise.all(histories.map((history) => history.tail(asking.signal)));
    } catch (error) {
      if (!asking.signal.aborted) console.info("history:", error.name); // the next value asks again
    }
    this.tailTimer = null;
    this.tailedAt = performance.now();
    if (histories === this.histories && !this.isLoading) this.redraw();
  }

  async #loadPeriods({ from, to }, signal) {
    const query = new URLSearchParams({ from: from.toISOString() });
    if (to) query.set("to", to.toISOString());
    const url = `/api/v1/mqtt/dataloggers/${this.section.dataset.datalogger}/presence/?${query}`;
    const { periods, truncated } = await ask(url, { signal });
    this.periods = periods.map(({ presence, started_at: start, ended_at: end }) => ({
      presence, from: Date.parse(start) / 1000, to: end ? Date.parse(end) / 1000 : Infinity,
    }));
    const first = this.periods[0]?.from ?? Infinity;
    if (!truncated) this.periods.unshift({ presence: "unknown", from: -Infinity, to: first });
  }

  #draw() {
    const { span } = this.range;
    if (this.range.isLive) {
      for (const history of this.histories) history.trim(new Date(span[0] * 1000));
    }
    const lines = this.histories.map((history) => lineOf(history));
    const hasNumbers = lines.some(({ columns }) => columns[1].some((value) => value !== null));
    const hasPoints = this.histories.some(({ points }) => points.length);
    this.#showSteps();
    this.#tabulate();
    if (!hasNumbers) {
      this.chart.clear();
      const isText = this.histories.every(({ kind }) => kind === "text");
      this.#say(!hasPoints ? words.empty : isText ? "" : words.noNumbers);
    } else {
      this.#say("");
      this.chart.show(span, lines, this.#known());
    }
    this.#read();
    this.#describe();
  }

  /** Nobody knows yet what the future brings. */
  #known() {
    const now = serverNow() / 1000;
    return this.periods.map((period) => ({ ...period, to: Math.min(period.to, now) })).filter(({ from, to }) => from < to);
  }

  #showSteps() {
    const [history] = this.histories;
    if (!history) return;
    const interval = words.intervals[history.interval];
    const each = fill(history.isCoarser ? words.tooMany : words.each, { interval });
    const isText = history.kind === "text";
    this.section.querySelector("#steps").textContent = history.interval === "raw" && !isText ? words.everyReading : isText ? "" : each;
  }

  #tabulate() {
    this.older.hidden = !this.histories[0]?.hasOlder;
    if (this.values.open && this.histories.length) showTable(this.values, this.histories, this.moments);
  }

  async #loadOlder() {
    const { histories, asking } = this;
    this.older.disabled = true;
    try {
      await histories[0].loadOlder(asking.signal);
    } catch (error) {
      if (!asking.signal.aborted) notify({ text: words.failed, tone: "red" });
      console.info("history:", error.name);
    }
    this.older.disabled = false;
    if (histories === this.histories) this.#tabulate();
  }

  /** Say the values under the cursor, or the last ones. */
  #read() {
    const items = this.histories.filter(({ kind }) => kind !== "text").map((history) => {
      const point = pointAt(history.points, this.cursorAt);
      return [history, point];
    });
    const newest = Math.max(...items.map(([, point]) => point?.at ?? -Infinity));
    const at = this.cursorAt ?? newest;
    this.readout.replaceChildren();
    if (!Number.isFinite(at)) return;
    const date = new Date(at * 1000);
    const time = element("time", "readout-time", this.moments.text(date));
    time.dateTime = date.toISOString();
    this.readout.append(time);
    const yours = this.moments.yours(date);
    if (yours) this.readout.append(" ", element("small", "yours", yours));
    for (const [history, point] of items) this.readout.append(" ", readoutItem(history, point));
  }

  #describe() {
    const sentences = this.histories.map((history) => {
      const values = history.points.map(({ value }) => value).filter((value) => typeof value === "number");
      if (!values.length) return history.label;
      const { name, low, high, last } = {
        name: history.label, last: values.at(-1),
        low: values.reduce((a, b) => Math.min(a, b)), high: values.reduce((a, b) => Math.max(a, b)),
      };
      const say = (value) => `${valueText(value, history.kind)} ${history.unit}`.trim();
      return fill(words.summary, { name, low: say(low), high: say(high), last: say(last) });
    });
    this.place.ariaLabel = sentences.join(". ");
  }

  #say(sentence, { isBusy = false } = {}) {
    const isShown = Boolean(sentence);
    this.section.ariaBusy = String(isBusy);
    this.note.hidden = !isShown;
    // While it loads again, what was there stays, greyed.
    this.note.classList.toggle("is-over", isBusy && this.histories.length > 0);
    const place = this.note.querySelector("p");
    if (place.textContent !== sentence) place.textContent = sentence;
    if (isShown) this.note.querySelector("button")?.remove();
  }

  #fail(error) {
    this.isLoading = false;
    this.histories = [];
    this.chart.clear();
    this.readout.replaceChildren();
    this.#say([words.failed, error.status ? error.message : ""].join(" ").trim());
    const button = element("button", "", texts.again);
    button.type = "button";
    button.addEventListener("click", () => this.load());
    this.note.append(button);
  }
}

function lineOf(history) {
  const { label, unit, kind, series, hasBand } = history;
  return { label, unit, kind, series, hasBand, isStepped: kind === "boolean", columns: history.columns() };
}

/** Return the point nearest to a time, the last one without any. */
function pointAt(points, at) {
  if (at === null) return points.at(-1);
  let [low, high] = [0, points.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].at < at) low = middle + 1;
    else high = middle;
  }
  const [one, other] = [points[low - 1], points[low]];
  return one && at - one.at < other.at - at ? one : other;
}

function readoutItem({ label, kind, unit, series, hasBand }, point) {
  const item = element("span", "readout-item", "");
  item.dataset.series = series;
  item.append(element("i", "swatch", ""), element("span", "", label), " ", element("b", "", `${valueText(point?.value, kind)} ${unit}`.trim()));
  if (hasBand && point) {
    item.append(" ", element("small", "", `${valueText(point.low, kind)} – ${valueText(point.high, kind)}`));
  }
  return item;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
