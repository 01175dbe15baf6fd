// One sensor's readings over a range of time, as the API tells them and as they come.

import { ask } from "./api.js";

const RAW_POINTS = 3000; // more than that nobody can tell apart on a screen
const RAW_SPAN_S = 6 * 3600;
const CHANGES = 100; // of a text, at a time
const SLACK = 2.5; // so much longer than usual without a value, and something is missing
const BUCKET_SLACK = 1.6; // an autumn day has 25 hours
export const LENGTHS_S = {
  "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21600, "1d": 86400, "1w": 604800, "1mo": 2678400,
};

export class History {
  /**
   * @param {{id: number, kind: string, label: string, unit: string}} sensor
   * @param {number} silenceS after so long without a word its device is offline
   */
  constructor(sensor, silenceS) {
    Object.assign(this, sensor);
    this.own = sensor;
    this.silenceS = silenceS;
    this.interval = "raw";
    this.isCoarser = false; // than somebody wished
    this.points = []; // { at: seconds, value, low, high }; of a text its changes alone
    this.hasOlder = false; // changes of a text, in the range
    this.toldAt = null; // the last one that the server told; of what comes live some is left out
  }

  /** @param {{from: Date, to: ?Date, interval: string, agg: string}} question */
  async load(question, signal) {
    if (this.kind === "text") {
      await this.#loadChanges(question, signal);
      return;
    }
    const interval = await this.#choose(question, signal);
    const figures = this.#figures(question, interval);
    let body = await this.#ask({ ...question, interval, agg: figures }, signal);
    const isCoarser = body.truncated;
    if (isCoarser) body = await this.#ask({ ...question, interval: "auto", agg: this.#figures(question) }, signal);
    this.question = question;
    const isRaw = body.interval === "raw";
    const isNumber = !isRaw && ["count", "sum"].includes(question.agg) && this.own.kind === "boolean";
    this.kind = isNumber ? "number" : this.own.kind;
    this.unit = !isRaw && question.agg === "count" ? "" : this.own.unit;
    this.interval = body.interval;
    this.isCoarser = isCoarser;
    this.points = body.readings.map(pointOf);
    this.toldAt = this.points.at(-1)?.at ?? null;
  }

  async #loadChanges(question, signal) {
    this.question = question;
    ({ points: this.points, hasOlder: this.hasOlder } = await this.#askChanges(question, signal));
  }

  /** Put the changes of a text that come next before those that are there. */
  async loadOlder(signal) {
    const { question } = this;
    const to = new Date(this.points[0].at * 1000);
    const { points, hasOlder } = await this.#askChanges({ ...question, to }, signal);
    this.points = [...points, ...this.points];
    this.hasOlder = hasOlder;
  }

  /** What an event left out: it has the newest value alone. */
  async #tailChanges(signal) {
    const { points, hasOlder } = await this.#askChanges(this.question, signal);
    const [since, until] = [points[0]?.at ?? Infinity, points.at(-1)?.at ?? -Infinity];
    const older = this.points.filter(({ at }) => at < since);
    const newer = this.points.filter(({ at }) => at > until); // came while we asked
    if (!older.length) this.hasOlder = hasOlder;
    this.points = [...older, ...points, ...newer];
  }

  async #askChanges({ from, to }, signal) {
    const query = new URLSearchParams({ from: from.toISOString(), limit: CHANGES });
    if (to) query.set("to", to.toISOString());
    const { changes, has_older: hasOlder } = await ask(`/api/v1/mqtt/sensors/${this.id}/changes/?${query}`, { signal });
    return { points: changes.map(pointOf).reverse(), hasOlder };
  }

  /** What came since the server was asked last, with its last point: an interval goes on. */
  async tail(signal) {
    const { question, interval } = this;
    if (this.kind === "text") {
      await this.#tailChanges(signal);
      return;
    }
    const from = this.toldAt === null ? question.from : new Date(this.toldAt * 1000);
    const body = await this.#ask({ ...question, from, interval, agg: this.#figures(question, interval) }, signal);
    if (this.question !== question || body.truncated) return;
    const since = from.getTime() / 1000;
    const told = body.readings.map(pointOf);
    const until = told.at(-1)?.at ?? since;
    const newer = this.points.filter(({ at }) => at > until); // came while we asked
    this.points = [...this.points.filter(({ at }) => at < since), ...told, ...newer];
    if (told.length) this.toldAt = until;
  }

  /** Add a value that has just come; false if only the server can say what it changes. */
  append(value, date) {
    const at = date.getTime() / 1000;
    const isLate = at <= (this.points.at(-1)?.at ?? -Infinity);
    if (this.interval !== "raw" || isLate) return false;
    this.points.push({ at, value: typeof value === "string" ? value : Number(value) });
    return true;
  }

  /** Forget what has left the range. */
  trim(from) {
    const since = from.getTime() / 1000;
    const first = this.points.findIndex(({ at }) => at >= since);
    if (first > 1) this.points.splice(0, first - 1); // one before: the line comes from there
  }

  get hasBand() {
    return this.points.some(({ low }) => low !== undefined);
  }

  /** Return columns for the chart: times, values, lowest, highest; null where a gap is. */
  columns() {
    const columns = [[], [], [], []];
    const longest = this.#longestStep();
    let before = null;
    for (const { at, value, low, high } of this.points) {
      if (before !== null && at - before > longest) push(columns, (at + before) / 2, null, null, null);
      push(columns, at, typeof value === "number" ? value : null, low ?? null, high ?? null);
      before = at;
    }
    return columns;
  }

  #longestStep() {
    const steps = this.points.slice(1).map(({ at }, place) => at - this.points[place].at).sort((a, b) => a - b);
    const usual = steps[Math.floor(steps.length / 2)] ?? 0;
    const promised = this.interval === "raw" ? this.silenceS : LENGTHS_S[this.interval] * BUCKET_SLACK;
    return Math.max(usual * SLACK, promised);
  }

  /** Short ranges with few readings are shown as they are, whatever the interval. */
  async #choose({ from, to, interval, agg }, signal) {
    if (interval !== "auto") return interval;
    const span = ((to ?? new Date()) - from) / 1000;
    if (agg !== "avg" || span > RAW_SPAN_S * 1.01) return "auto";
    const { readings } = await this.#ask({ from, to, interval: "1m", agg: "count" }, signal);
    const count = readings.reduce((sum, { value }) => sum + value, 0);
    return count <= RAW_POINTS ? "raw" : "auto";
  }

  #figures({ agg }, interval) {
    if (interval === "raw") return "avg"; // readings are no figures
    return agg === "avg" ? "avg,min,max" : agg;
  }

  #ask({ from, to, interval, agg }, signal) {
    return ask(`${readingsUrl(this.id)}?${queryOf({ from, to, interval, agg })}`, { signal });
  }
}

export const readingsUrl = (id) => `/api/v1/mqtt/sensors/${id}/readings/`;

export function queryOf({ from, to, interval, agg }) {
  const query = new URLSearchParams({ from: from.toISOString(), interval, agg });
  if (to) query.set("to", to.toISOString());
  return query;
}

function pointOf({ at, value, avg, min, max }) {
  const seconds = Date.parse(at) / 1000;
  return avg === undefined ? { at: seconds, value } : { at: seconds, value: avg, low: min, high: max };
}

function push(columns, ...values) {
  values.forEach((value, place) => columns[place].push(value));
}

/** Return points at which a text became another one, the newest first. */
export function changesOf(points) {
  return points.filter(({ value }, place) => value !== points[place - 1]?.value).reverse();
}
