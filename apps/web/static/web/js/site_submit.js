// Sends forms without leaving the page. Each works without this script as well: the
// server then answers with a page instead of a sentence.

import { fetchPage } from "./api.js";
import { morph } from "./morph.js";
import { notify } from "./notices.js";
import { texts } from "./texts.js";

const TIMEOUT_MS = 45000; // a test of a connection takes 20 s, publishing 8
const keepAll = () => false;

/** A part of the page that answers fill, not refetches. */
export const isPart = (element) => "part" in (element.dataset ?? {});

/**
 * Take over the page's forms.
 *
 * @param {(afterMs?: number) => void} refresh fetches the live parts again
 * @param {object} own `onDone(form)`: it worked; `onAnswer(form)`: it did, or did not
 */
export function takeForms(refresh, own = {}) {
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-submit]");
    if (!form) return;
    event.preventDefault();
    submit(form, event.submitter, refresh, own);
  });
}

async function submit(form, button, refresh, own) {
  if ("busy" in form.dataset) return;
  setBusy(form, button, true);
  const answer = await send(form, button);
  setBusy(form, button, false);
  if (answer.page) {
    takeParts(answer.page);
    return;
  }
  if (answer.isAnswer) own.onAnswer?.(form);
  notify({ text: answer.text, tone: answer.tone, url: answer.url });
  if (answer.tone === "red") return;
  if ("go" in form.dataset) {
    location.assign(answer.url);
    return;
  }
  const to = new URL(answer.url ?? location.href, location.href);
  if (to.search && to.pathname === location.pathname) history.replaceState(null, "", to);
  own.onDone?.(form);
  clearProblems(form);
  if ("renew" in form.dataset) renew(form);
  refresh();
}

function clearProblems(form) {
  for (const words of form.querySelectorAll(".error")) words.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Begin anew with what is stored now; what was typed has done its work. */
async function renew(form) {
  try {
    const page = await fetchPage(location.href);
    form.replaceWith(document.importNode(page.getElementById(form.id), true));
  } catch (error) {
    console.info("not renewed:", error.name);
    location.reload();
  }
}

function setBusy(form, button, isBusy) {
  form.toggleAttribute("data-busy", isBusy);
  form.setAttribute("aria-busy", String(isBusy));
  if (!button) return;
  const words = button.dataset.busyText;
  if (isBusy) {
    button.dataset.idleText = button.textContent;
    if (words) button.textContent = words;
  } else if (words) {
    button.textContent = button.dataset.idleText;
  }
  button.disabled = isBusy;
}

/**
 * Post a form.
 *
 * @returns {Promise<{text?: string, tone?: string, url?: string, page?: Document}>}
 */
export async function send(form, button, timeoutMs = TIMEOUT_MS, signal = null) {
  const body = new URLSearchParams(new FormData(form));
  if (button?.name) body.set(button.name, button.value);
  const ends = AbortSignal.timeout(timeoutMs);
  try {
    // Not form.action: some of our buttons have that name.
    const response = await fetch(form.getAttribute("action") ?? location.href, {
      method: "POST", body, headers: { "X-Script": "1" },
      signal: signal ? AbortSignal.any([signal, ends]) : ends,
    });
    const kind = response.headers.get("Content-Type") ?? "";
    if (kind.startsWith("application/json")) return { ...await response.json(), isAnswer: true };
    if (response.ok) {
      return { page: new DOMParser().parseFromString(await response.text(), "text/html") };
    }
    return { text: texts.site.failed, tone: "red" };
  } catch (error) {
    if (signal?.aborted) throw error;
    return { text: texts.site.silent, tone: "red" };
  }
}

/** Show the parts of an answer that this page has, too; what was typed stays. */
export function takeParts(page, only = "") {
  let focus = null;
  for (const fresh of page.querySelectorAll("[data-part]")) {
    if (only && fresh.id !== only) continue;
    const have = document.getElementById(fresh.id);
    if (!have || (have.parentElement.closest("[data-part]") && !only)) continue;
    morph(have, fresh, keepAll);
    takeStates(have, fresh);
    focus ??= have.querySelector("[aria-invalid=true]") ?? have.querySelector("[data-focus]");
  }
  if (only || !focus) return;
  focus.closest("details")?.setAttribute("open", "");
  focus.focus();
}

/** What is wrong is in attributes of fields, and those the morphing leaves alone. */
function takeStates(have, fresh) {
  for (const want of fresh.querySelectorAll("input[name], select[name], textarea[name]")) {
    const field = have.querySelector(`[name="${CSS.escape(want.name)}"]`);
    if (!field) continue;
    for (const name of ["aria-invalid", "aria-describedby"]) {
      if (want.hasAttribute(name)) field.setAttribute(name, want.getAttribute(name));
      else field.removeAttribute(name);
    }
    if ("fresh" in want.dataset) field.value = want.value;
  }
}
