// Numbers and ages as people read them; apps/web/formats.py does the same on the server.

import { fill, language, texts } from "./texts.js";

const HUGE = 1e15;
const TINY = 1e-6;

// Browsers differ on grouping four digits in Italian: always do.
const numbers = (places) => new Intl.NumberFormat(language, {
  maximumFractionDigits: places, useGrouping: "always", signDisplay: "negative",
});
const big = numbers(3);
const small = numbers(6);

export function numberText(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return "–";
  if (size >= HUGE || (size > 0 && size < TINY)) {
    const [mantissa, exponent] = value.toExponential(2).split("e");
    return `${mantissa.replace(/\.?0+$/, "")}e${Number(exponent)}`;
  }
  return (size >= 1 ? big : small).format(value);
}

/** A sensor's value; `kind` is what the server called it: number, boolean or text. */
export function valueText(value, kind) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  const number = Number(value); // true is stored as 1
  if (kind === "boolean" && (number === 0 || number === 1)) {
    return number ? texts.yes : texts.no;
  }
  return numberText(number);
}

/** How long ago, in steps of ten seconds under a minute. */
export function ageText(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 10) return texts.ages.now;
  const [unit, n] = steps(seconds);
  return fill(texts.ages[unit], { n });
}

function steps(seconds) {
  if (seconds < 60) return ["s", Math.floor(seconds / 10) * 10];
  if (seconds < 3600) return ["min", Math.floor(seconds / 60)];
  if (seconds < 2 * 86400) return ["h", Math.floor(seconds / 3600)];
  return ["d", Math.floor(seconds / 86400)];
}
