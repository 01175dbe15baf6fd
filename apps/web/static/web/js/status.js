// The badge and the buttons of a site: optimistic at once, settled only by the server.

import { ApiError, ask } from "./api.js";
import { newAge, serverNow } from "./clock.js";
import { notify } from "./notices.js";
import { touch } from "./refresh.js";
import { fill, texts } from "./texts.js";

const SLOW_AFTER_MS = 35000; // the reconcile heals a lost command within 30 s
const TIMEOUT_MS = 10000;
const TRANSITIONAL = new Set(["connecting", "disabled"]);
// What a button asks for: the state to expect, whether the site is wanted then, the words.
const WISHES = {
  start: { expected: "connecting", isEnabled: true, words: texts.startAsked },
  stop: { expected: "disabled", isEnabled: false, words: texts.stopAsked },
  restart: { expected: "connecting", isEnabled: true, words: texts.restartAsked },
};
const TONES = ["tone-green", "tone-blue", "tone-orange", "tone-red"];

/** Sites whose next settled status answers a button of this page: to be told even if it is the same as before. */
export const asked = new Set();

const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const slot = (place, name) => place.querySelector(`[data-slot=${name}]`);

export const isBusy = (place) => "busy" in place.dataset;

/** Show a status event, or the state we expect after a button. */
export function showStatus(place, { status, is_enabled: isEnabled, reason }) {
  touch(place);
  place.dataset.enabled = String(isEnabled);
  write(slot(place, "reason"), texts.reasons[reason ?? ""] ?? reason);
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
  write(badge, text);
  for (const element of [place, badge]) {
    if (element.classList.contains(`tone-${tone}`)) continue;
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
  const canConnect = "hasBroker" in place.dataset && (!isTransitional || isSlow);
  slot(place, "slow").hidden = !isSlow;
  setDisabled(place, "start", isBusy(place) || !(canConnect && wantsStart));
  setDisabled(place, "stop", isBusy(place) || !isEnabled);
  setDisabled(place, "restart", isBusy(place) || !(canConnect && isEnabled));
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
export function listenToButtons(onAnswered) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-action]");
    const place = button?.closest("[data-site-id]");
    if (!place) return;
    event.preventDefault();
    press(place, button.dataset.action, onAnswered);
  });
}

async function press(place, action, onAnswered) {
  const { expected, isEnabled, words } = WISHES[action];
  const before = { ...place.dataset };
  const reason = slot(place, "reason").textContent;
  place.dataset.busy = "";
  asked.add(Number(place.dataset.siteId));
  showStatus(place, { status: expected, is_enabled: isEnabled, reason: "" });
  const problem = await post(place.dataset.siteId, action);
  delete place.dataset.busy;
  touch(place);
  if (problem) {
    asked.delete(Number(place.dataset.siteId));
    notify({ text: problem, tone: "red", url: `/sites/${place.dataset.siteId}/` });
    if (place.dataset.status === expected) restore(place, before, reason);
  } else {
    notify({ text: fill(words, { site: place.dataset.name }), tone: "blue", url: `/sites/${place.dataset.siteId}/` });
  }
  showControls(place);
  onAnswered();
}

function restore(place, before, reason) {
  showStatus(place, { status: before.status, is_enabled: before.enabled === "true", reason: "" });
  slot(place, "reason").textContent = reason;
  if (before.since) setSince(place, new Date(before.since));
}

/** Ask the API; return what to tell the user, empty if it was accepted. */
async function post(siteId, action) {
  try {
    await ask(`/api/v1/mqtt/sites/${siteId}/${action}/`, { method: "POST", timeoutMs: TIMEOUT_MS });
    return "";
  } catch (error) {
    if (error instanceof SyntaxError) return texts.errors.other; // an answer, but no JSON
    if (!(error instanceof ApiError)) return texts.errors.network;
    if ([401, 403].includes(error.status)) return texts.errors.permission;
    return texts.errors[error.code] ?? texts.errors.other;
  }
}
