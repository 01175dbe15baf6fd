// The values of a chart as a table, for those who do not see or point.

import { valueText } from "./format.js";
import { changesOf } from "./history.js";
import { fill, language, texts } from "./texts.js";

const MOST_ROWS = 500;
const words = texts.chart;
const whole = new Intl.NumberFormat(language);

/** @param {import("./history.js").History[]} histories in the order of the columns */
export function showTable(place, histories, moments) {
  const isText = isChanges(histories);
  const [rows, total] = isText ? changes(histories[0], moments) : values(histories);
  place.querySelector("thead").replaceChildren(row(headsOf(histories), "th"));
  place.querySelector("tbody").replaceChildren(...rows.map(({ at, cells }) => timedRow(at, cells, moments)));
  const counts = { n: whole.format(rows.length), total: whole.format(total) };
  place.querySelector(".table-note").textContent = total > rows.length ? fill(words.newest, counts) : "";
}

const isChanges = (histories) => histories.length === 1 && histories[0].kind === "text";

function headsOf(histories) {
  if (isChanges(histories)) return [words.from, words.value, words.until];
  return [words.at, ...histories.flatMap(({ label, unit, hasBand }) => {
    const name = histories.length > 1 ? `${label} ` : "";
    const measure = unit ? ` (${unit})` : "";
    if (!hasBand) return [`${histories.length > 1 ? label : words.value}${measure}`];
    const { avg, min, max } = words.figures;
    return [`${name}${avg}${measure}`, `${name}${min}`, `${name}${max}`];
  })];
}

/** Each text from when to when; the newest is still said, if the range ends now. */
function changes({ points, question }, moments) {
  const found = changesOf(points);
  const end = question.to ? moments.text(question.to) : words.stillSaid;
  const rows = found.map(({ at, value }, place) => {
    const until = place ? moments.text(new Date(found[place - 1].at * 1000)) : end;
    return { at, cells: [valueText(value, "text"), until] };
  });
  return [rows, found.length];
}

function values(histories) {
  const times = new Set(histories.flatMap(({ points }) => points.map(({ at }) => at)));
  const newest = [...times].sort((a, b) => b - a).slice(0, MOST_ROWS);
  const known = histories.map(({ points }) => new Map(points.map((point) => [point.at, point])));
  const rows = newest.map((at) => ({ at, cells: histories.flatMap((history, place) => cellsOf(history, known[place].get(at))) }));
  return [rows, times.size];
}

function cellsOf({ kind, hasBand }, point) {
  const figures = hasBand ? [point?.value, point?.low, point?.high] : [point?.value];
  return figures.map((value) => valueText(value, hasBand ? "number" : kind));
}

function row(cells, tag) {
  const element = document.createElement("tr");
  for (const text of cells) {
    const cell = document.createElement(tag);
    if (tag === "th") cell.scope = "col";
    cell.textContent = text;
    element.append(cell);
  }
  return element;
}

function timedRow(at, cells, moments) {
  const date = new Date(at * 1000);
  const element = row(cells, "td");
  const head = document.createElement("th");
  head.scope = "row";
  const time = document.createElement("time");
  time.dateTime = date.toISOString();
  time.textContent = moments.text(date);
  time.title = moments.yours(date);
  head.append(time);
  element.prepend(head);
  return element;
}
