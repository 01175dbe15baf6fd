// Fingers on a chart: one moves the range, two stretch it. uPlot knows the mouse alone.

const LEAST_PX = 8; // less is a tap
const LEAST_SPAN_S = 10;

/**
 * Follow fingers on an element; up and down still scrolls the page (`touch-action`).
 *
 * @param {HTMLElement} place
 * @param {object} chart `area()` where values are drawn, if they are; `span()` in seconds;
 *   `show(span)` while fingers move; `done(from, to)` when the last one has left
 */
export function followFingers(place, { area, span, show, done }) {
  const fingers = new Map(); // pointer id -> { x, time }: the time that stays under it
  let before = null; // the range when the first finger came
  let shown = null; // the range now, if fingers have changed it

  /** Hold on to the times that lie under the fingers now. */
  function anchor() {
    const { left, width } = area().getBoundingClientRect();
    const [from, to] = shown ?? before;
    for (const finger of fingers.values()) {
      finger.time = from + ((finger.x - left) / width) * (to - from);
      finger.from = finger.x;
    }
  }

  function spanNow() {
    const { left, width } = area().getBoundingClientRect();
    const [one, other] = [...fingers.values()].sort((a, b) => a.x - b.x);
    const [from, to] = shown ?? before;
    let perPx = (to - from) / width;
    if (other) perPx = Math.max(Math.abs(other.time - one.time) / Math.max(other.x - one.x, 1), LEAST_SPAN_S / width);
    const start = one.time - (one.x - left) * perPx;
    return [start, start + width * perPx];
  }

  function leave(event) {
    if (!fingers.delete(event.pointerId)) return;
    if (event.type === "pointercancel") { // the page scrolls instead
      fingers.clear();
      if (shown) show(before);
      shown = null;
    } else if (fingers.size) {
      anchor();
    } else if (shown) {
      done(...shown);
      shown = null;
    }
  }

  place.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch" || !area() || fingers.size === 2) return;
    if (!fingers.size) [before, shown] = [[...span()], null];
    place.setPointerCapture(event.pointerId); // what it touched may be drawn anew meanwhile
    fingers.set(event.pointerId, { x: event.clientX });
    anchor();
  });
  place.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger || !area()) return;
    finger.x = event.clientX;
    if (!shown && Math.abs(finger.x - finger.from) < LEAST_PX) return;
    shown = spanNow();
    show(shown);
  });
  for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) place.addEventListener(type, leave);
}
