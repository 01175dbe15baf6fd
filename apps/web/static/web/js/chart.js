// A chart over time: lines with bands, gaps as gaps, offline and unknown times shaded.

import { numberText } from "./format.js";
import { texts } from "./texts.js";
import { followFingers } from "./touch.js";

const { uPlot } = window; // the wheel's script, loaded before this one
const DAY_S = 86400;
const MONTH_S = 28 * DAY_S;
const LEAST_DRAG_PX = 8;
const OFFLINE_EDGE_PX = 4;
const HATCH_PX = 8;
const MOST_AXES = 2;
const FONT = "12px system-ui, sans-serif";

export class Chart {
  /**
   * @param {HTMLElement} place
   * @param {object} moments of zones.js
   * @param {{onZoom: (from: number, to: number) => void, onReset: () => void, onCursor: (at: ?number) => void}} listeners seconds
   */
  constructor(place, moments, listeners) {
    this.place = place;
    this.moments = moments;
    this.listeners = listeners;
    this.span = [0, 1];
    this.periods = [];
    this.lines = [];
    this.formats = axisFormats(moments);
    new ResizeObserver(() => this.#resize()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#rebuild());
    place.addEventListener("keydown", (event) => this.#press(event));
    followFingers(place, {
      area: () => this.plot?.over, span: () => this.span, show: (span) => this.slide(span), done: listeners.onZoom,
    });
  }

  /**
   * Draw from the beginning.
   *
   * @param {[number, number]} span seconds
   * @param {{label: string, unit: string, kind: string, series: number, isStepped: boolean, hasBand: boolean, columns: number[][]}[]} lines
   * @param {{presence: string, from: number, to: number}[]} periods
   */
  show(span, lines, periods) {
    this.span = span;
    this.periods = periods;
    const shapes = (each) => JSON.stringify(each.map(({ columns, ...shape }) => shape));
    const isSame = this.plot && shapes(lines) === shapes(this.lines);
    this.lines = lines;
    if (isSame) this.plot.setData(this.#data());
    else this.#rebuild();
  }

  /** Move the range along with the clock. */
  slide(span) {
    this.span = span;
    this.plot?.setScale("x", { min: span[0], max: span[1] });
  }

  clear() {
    this.plot?.destroy();
    this.plot = null;
    this.lines = [];
  }

  #data() {
    const tables = this.lines.map(({ columns, hasBand }) => (hasBand ? columns : columns.slice(0, 2)));
    return tables.length === 1 ? tables[0] : uPlot.join(tables);
  }

  #resize() {
    if (this.plot && this.place.clientWidth) this.plot.setSize(this.#size());
  }

  #size() {
    return { width: this.place.clientWidth, height: this.place.clientHeight };
  }

  #rebuild() {
    this.plot?.destroy();
    this.plot = null;
    if (!this.lines.length) return;
    this.colours = coloursOf(this.place);
    const series = [{}];
    const bands = [];
    for (const line of this.lines) {
      series.push(this.#line(line));
      if (!line.hasBand) continue;
      const hidden = { scale: scaleOf(line), stroke: "transparent", width: 0, points: { show: false } };
      series.push(hidden, hidden);
      bands.push({ series: [series.length - 1, series.length - 2], fill: faded(this.#colour(line)) });
    }
    this.plot = new uPlot({
      ...this.#size(), series, bands, ...this.#scales(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), this.moments.zone),
      legend: { show: false },
      cursor: {
        drag: { x: true, y: false, setScale: false, dist: LEAST_DRAG_PX },
        bind: { dblclick: () => () => { this.listeners.onReset(); return null; } },
        y: false,
      },
      hooks: {
        drawClear: [(plot) => this.#shade(plot)],
        setSelect: [(plot) => this.#select(plot)],
        setCursor: [(plot) => this.#point(plot)],
      },
    }, this.#data(), this.place);
  }

  #colour({ series }) {
    return this.colours.series[series - 1];
  }

  #line(line) {
    return {
      label: line.label, scale: scaleOf(line), stroke: this.#colour(line), width: 1.75,
      paths: line.isStepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      points: { size: 5, fill: this.#colour(line), filter: lonely },
    };
  }

  #scales() {
    const { muted, line } = this.colours;
    const scales = { x: { time: true, range: () => this.span } };
    const common = { stroke: muted, font: FONT, labelFont: FONT, ticks: { stroke: line, width: 1 } };
    const axes = [{ ...common, space: 70, size: 46, grid: { stroke: line, width: 1 }, values: this.formats }];
    for (const shown of this.lines) {
      const scale = scaleOf(shown);
      if (scale in scales) continue;
      scales[scale] = shown.kind === "boolean" ? { range: [-0.1, 1.1] } : { auto: true };
      const isFirst = axes.length === 1;
      if (axes.length > MOST_AXES) continue;
      axes.push({
        ...common, scale, side: isFirst ? 3 : 1, grid: { show: isFirst, stroke: line, width: 1 },
        ...(shown.unit ? { label: shown.unit, labelSize: 20 } : {}), size: labelsWidth,
        ...(shown.kind === "boolean" ? { splits: [0, 1], values: [texts.no, texts.yes] } : { values: (_, splits) => splits.map(numberText) }),
      });
    }
    return { scales, axes };
  }

  #select(plot) {
    const { left, width } = plot.select;
    if (width < LEAST_DRAG_PX) return;
    const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.listeners.onZoom(from, to);
  }

  #point(plot) {
    const { idx } = plot.cursor;
    this.listeners.onCursor(idx === null || idx === undefined ? null : plot.data[0][idx]);
  }

  /** The chart by keyboard: arrows move the cursor, + and - zoom around it. */
  #press(event) {
    if (!this.plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (key === "Escape") this.listeners.onReset();
    else if (key === "ArrowLeft" || key === "ArrowRight") this.#step(key === "ArrowLeft" ? -1 : 1);
    else if (key === "+" || key === "-") this.#zoomBy(key === "+" ? 0.5 : 2);
    else return;
    event.preventDefault();
  }

  #step(direction) {
    const times = this.plot.data[0];
    const now = this.plot.cursor.idx;
    const next = now === null || now === undefined ? times.length - 1 : Math.min(Math.max(now + direction, 0), times.length - 1);
    if (next < 0) return;
    this.plot.setCursor({ left: this.plot.valToPos(times[next], "x"), top: this.plot.over.clientHeight / 2 });
  }

  #zoomBy(factor) {
    const [from, to] = this.span;
    const { idx } = this.plot.cursor;
    const middle = idx === null || idx === undefined ? (from + to) / 2 : this.plot.data[0][idx];
    const half = ((to - from) / 2) * factor;
    if (half >= 5) this.listeners.onZoom(middle - half, middle + half);
  }

  #shade({ ctx, bbox, ...plot }) {
    const { offline, unknown, offlineEdge, unknownEdge } = this.colours;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const { presence, from, to } of this.periods) {
      if (presence === "online" || to <= this.span[0] || from >= this.span[1]) continue;
      const [left, right] = [from, to].map((at) => this.#pixel(at, bbox));
      const width = Math.max(right - left, 1);
      ctx.fillStyle = presence === "offline" ? offline : unknown;
      ctx.fillRect(left, bbox.top, width, bbox.height);
      if (presence === "offline") {
        ctx.fillStyle = offlineEdge;
        ctx.fillRect(left, bbox.top, width, OFFLINE_EDGE_PX * devicePixelRatio);
      } else {
        hatch(ctx, left, bbox.top, width, bbox.height, unknownEdge);
      }
    }
    ctx.restore();
  }

  #pixel(at, { left, width }) {
    const [from, to] = this.span;
    return left + Math.min(Math.max((at - from) / (to - from), 0), 1) * width;
  }
}

const scaleOf = ({ kind, unit }) => (kind === "boolean" ? "yes-no" : `unit ${unit}`);

/** Points only where a value stands alone and no line would show it. */
function lonely(plot, place, isShown) {
  if (isShown) return null;
  const values = plot.data[place];
  const known = [];
  values.forEach((value, index) => { if (value !== undefined) known.push(index); });
  return known.filter((index, order) => values[index] !== null
    && isNothing(values[known[order - 1]]) && isNothing(values[known[order + 1]]));
}

const isNothing = (value) => value === null || value === undefined;

function hatch(ctx, left, top, width, height, colour) {
  const step = HATCH_PX * devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.strokeStyle = colour;
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  for (let x = Math.floor((left - height) / step) * step; x < left + width; x += step) {
    ctx.moveTo(x, top + height);
    ctx.lineTo(x + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

/** A canvas knows no custom properties: have the browser work the colours out. */
function coloursOf(place) {
  const probe = document.createElement("i");
  place.append(probe);
  const of = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const found = {
    muted: of("muted"), line: of("line"), offline: faded(of("red-line")), offlineEdge: of("red-line"),
    unknown: faded(of("grey-back")), unknownEdge: faded(of("grey-line")),
    series: [1, 2, 3, 4, 5, 6].map((number) => of(`series-${number}`)),
  };
  probe.remove();
  return found;
}

/** @param {string} colour rgb(…), as browsers compute one */
const faded = (colour) => colour.replace(/^rgba?\(([^)]*)\)$/, (_, parts) => `rgba(${parts.split(",").slice(0, 3).join(",")}, 0.2)`);

function labelsWidth(plot, values, axis, turn) {
  if (turn > 1) return plot.axes[axis]._size; // it has been laid out: do not jump
  const longest = Math.max(0, ...(values ?? []).map((value) => String(value).length));
  const width = 18 + longest * 7;
  return turn ? Math.max(width, plot.axes[axis]._size) : width; // nor for shorter labels
}

/** Return how uPlot should write times: the date below where a day begins. */
function axisFormats({ format }) {
  const day = format({ day: "numeric", month: "short" });
  const month = format({ month: "short", year: "numeric" });
  const minutes = format({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const seconds = format({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  return (_, splits, __, ___, step) => {
    let last = "";
    return splits.map((at) => {
      const date = new Date(at * 1000);
      if (step >= MONTH_S) return month.format(date);
      if (step >= DAY_S) return day.format(date);
      const today = day.format(date);
      const text = (step < 60 ? seconds : minutes).format(date);
      const isNew = today !== last;
      last = today;
      return isNew ? `${text}\n${today}` : text;
    });
  };
}
