// Publishing: the form, what became of the last message, and the ledger live.

import { goLive } from "./live.js";
import { isPart, takeForms } from "./site_submit.js";

const REFRESH_EVERY_MS = 30000;

const { site } = document.getElementById("bar").dataset;

const refresh = goLive(`/events/sites/${site}/`, REFRESH_EVERY_MS, {
  isKept: isPart,
  handlers: (again) => ({ command: () => again(100) }),
});

takeForms(refresh, { onAnswer: takeNewKey });

/** Each message has a key of its own, so that a doubled click sends it once. */
function takeNewKey(form) {
  form.elements.key.value = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
}
