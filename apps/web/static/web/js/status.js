// The badge and the buttons of a site: optimistic at once, settled only by the server.

import { newAge, serverNow } from "./clock.js";
import { notify } from "./notices.js";
import { touch } from "./refresh.js";
import { fill, texts } from "./texts.js";

const SLOW_AFTER_MS = 35000; // the reconcile heals a lost command within 30 s
const TIMEOUT_MS = 10000;
const TRANSITIONAL = new Set(["connecting", "disabled"]);
const TONES = ["tone-green", "tone-blue", "tone-orange", "tone-red"];

const slot = (place, name) => place.querySelector(`[data-slot=${name}]`);

export const isBusy = (place) => "busy" in place.dataset;

/** Show a status event, or the state we expect after a button. */
export function showStatus(place, { status, is_enabled: isEnabled, reason }) {
  touch(place);
  place.dataset.enabled = String(isEnabled);
  slot(place, "reason").textContent = texts.reasons[reason ?? ""] ?? reason;
  if (place.dataset.status !== status) {
    place.dataset.status = status;
    setSince(place, new Date(serverNow()));
    slot(place, "retry").replaceChildren();
  }
  showBadge(place, texts.badges[status]);
  showControls(place);
}

function setSince(place, date) {
  place.dataset.since = date.toISOString();
  slot(place, "since").replaceChildren(newAge(date));
}

function showBadge(place, { text, tone, isPulsing }) {
  const badge = slot(place, "badge");
  if (badge.textContent !== text) badge.textContent = text;
  for (const element of [place, badge]) {
    element.classList.remove(...TONES);
    element.classList.add(`tone-${tone}`);
  }
  badge.classList.toggle("is-pulsing", isPulsing);
}

/** Decide what can be pressed, as `rows.controls_for` does on the server. */
export function showControls(place) {
  const { status, since } = place.dataset;
  const isEnabled = place.dataset.enabled === "true";
  const isTransitional = TRANSITIONAL.has(status);
  const isSlow = isTransitional && Boolean(since)
    && serverNow() - Date.parse(since) > SLOW_AFTER_MS;
  const wantsStart = !isEnabled || status === "error" || isSlow;
  const canStart = "hasBroker" in place.dataset && wantsStart && (!isTransitional || isSlow);
  slot(place, "slow").hidden = !isSlow;
  setDisabled(place, "start", isBusy(place) || !canStart);
  setDisabled(place, "stop", isBusy(place) || !isEnabled);
}

function setDisabled(place, action, isDisabled) {
  const button = place.querySelector(`[data-action=${action}]`);
  if (button && button.disabled !== isDisabled) button.disabled = isDisabled;
}

/** Look at every change that is under way: it may have become slow. */
export function showSlowOnes() {
  for (const status of TRANSITIONAL) {
    document.querySelectorAll(`[data-status=${status}][data-site-id]`).forEach(showControls);
  }
}

/** Take over the buttons: the form they belong to still works without this script. */
export function listenToButtons(refresh) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-action]");
    const place = button?.closest("[data-site-id]");
    if (!place) return;
    event.preventDefault();
    press(place, button.dataset.action, refresh);
  });
}

async function press(place, action, refresh) {
  const isStart = action === "start";
  const before = { ...place.dataset };
  const reason = slot(place, "reason").textContent;
  const expected = isStart ? "connecting" : "disabled";
  place.dataset.busy = "";
  showStatus(place, { status: expected, is_enabled: isStart, reason: "" });
  const problem = await post(place.dataset.siteId, action);
  delete place.dataset.busy;
  touch(place);
  if (problem) {
    notify({ text: problem, tone: "red", url: `/sites/${place.dataset.siteId}/` });
    if (place.dataset.status === expected) restore(place, before, reason);
  } else {
    const words = fill(isStart ? texts.startAsked : texts.stopAsked, { site: place.dataset.name });
    notify({ text: words, tone: "blue", url: `/sites/${place.dataset.siteId}/` });
  }
  showControls(place);
  refresh(1000);
}

function restore(place, before, reason) {
  showStatus(place, { status: before.status, is_enabled: before.enabled === "true", reason: "" });
  slot(place, "reason").textContent = reason;
  if (before.since) setSince(place, new Date(before.since));
}

/** Ask the API; return what to tell the user, empty if it was accepted. */
async function post(siteId, action) {
  const token = document.querySelector("#control [name=csrfmiddlewaretoken]").value;
  try {
    const response = await fetch(`/api/v1/mqtt/sites/${siteId}/${action}/`, {
      method: "POST",
      headers: { "X-CSRFToken": token, Accept: "application/json" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.ok) return "";
    if ([401, 403].includes(response.status)) return texts.errors.permission;
    const { code } = await response.json();
    return texts.errors[code] ?? texts.errors.other;
  } catch (error) {
    if (error instanceof SyntaxError) return texts.errors.other; // an answer, but no JSON
    return texts.errors.network;
  }
}
