// Which time, by which interval: the form above a chart, kept in the page's address.

import { serverNow } from "./clock.js";
import { fromLocal, toLocal } from "./zones.js";

const SPANS_S = { "15m": 900, "1h": 3600, "24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400, "1y": 365 * 86400 };
const CUSTOM = "custom";

export class Range {
  /**
   * @param {HTMLFormElement} form
   * @param {string} zone of the site, in which people write times
   * @param {DOMStringMap} initial `span`, `from`, `to`
   * @param {() => void} onChange
   */
  constructor(form, zone, initial, onChange) {
    Object.assign(this, { form, zone, onChange, zoomedFrom: null });
    this.resetButton = form.querySelector("#reset");
    this.#set({ span: initial.span, from: dateOf(initial.from), to: dateOf(initial.to) });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (event.submitter?.name === "range") this.#press(event.submitter.value);
    });
    form.addEventListener("change", ({ target }) => { if (target.tagName === "SELECT") this.#changed(); });
    for (const field of [form.elements.from, form.elements.to]) {
      field.addEventListener("input", () => field.setCustomValidity(""));
    }
    this.resetButton.addEventListener("click", () => this.reset());
  }

  /** What to ask for: `to` is null when the range ends now. */
  get question() {
    const { interval, agg } = this.form.elements;
    const [from] = this.span;
    return { from: new Date(from * 1000), to: this.isLive ? null : this.to, interval: interval.value, agg: agg.value };
  }

  get isLive() {
    return this.name !== CUSTOM;
  }

  /** The range in seconds; one that ends now moves. */
  get span() {
    if (!this.isLive) return [this.from / 1000, this.to / 1000];
    const now = serverNow() / 1000;
    return [now - SPANS_S[this.name], now];
  }

  zoom(from, to) {
    this.zoomedFrom ??= { span: this.name, from: this.from, to: this.to };
    this.#set({ span: CUSTOM, from: new Date(from * 1000), to: new Date(to * 1000) });
    this.#changed();
  }

  reset() {
    if (!this.zoomedFrom) return;
    this.#set(this.zoomedFrom);
    this.zoomedFrom = null;
    this.#changed();
  }

  #press(span) {
    if (span === CUSTOM) {
      const fields = [this.form.elements.from, this.form.elements.to];
      const [from, to] = fields.map(({ value }) => fromLocal(value, this.zone));
      if (!from || !to || from >= to) {
        const wrong = from ? fields[1] : fields[0];
        wrong.setCustomValidity(this.form.dataset.wrong);
        wrong.reportValidity();
        return;
      }
      this.#set({ span, from, to });
    } else {
      this.#set({ span, from: null, to: null });
    }
    this.zoomedFrom = null;
    this.#changed();
  }

  #set({ span, from, to }) {
    Object.assign(this, { name: span, from, to });
    for (const button of this.form.querySelectorAll("button[name=range]")) {
      button.setAttribute("aria-pressed", String(button.value === span));
    }
    const { from: fromField, to: toField } = this.form.elements;
    fromField.value = from ? toLocal(from, this.zone) : "";
    toField.value = to ? toLocal(to, this.zone) : "";
  }

  #changed() {
    this.resetButton.hidden = !this.zoomedFrom;
    this.remember();
    this.onChange();
  }

  /** Keep it in the address, for a reload or a bookmark. */
  remember() {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(this.form)) {
      if (!["from", "to"].includes(name)) query.append(name, value);
    }
    query.set("range", this.name);
    if (!this.isLive) {
      query.set("from", this.from.toISOString());
      query.set("to", this.to.toISOString());
    }
    history.replaceState(null, "", `?${query}`);
  }
}

const dateOf = (text) => (text ? new Date(text) : null);
