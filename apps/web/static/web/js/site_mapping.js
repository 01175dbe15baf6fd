// The form of a mapping: a live preview while it is filled in.

import { send, takeParts } from "./site_submit.js";

const PAUSE_MS = 350;
const TIMEOUT_MS = 10000;

let timer, running;

export function livenForm(form) {
  showNames(form);
  form.addEventListener("input", () => {
    showNames(form);
    preview(form);
  });
}

/** Type and number are asked for when none of the list is meant. */
function showNames(form) {
  const isNew = form.elements.device?.value === "new";
  for (const field of form.querySelectorAll("[data-new]")) field.hidden = !isNew;
}

function preview(form) {
  clearTimeout(timer);
  running?.abort();
  timer = setTimeout(() => ask(form), PAUSE_MS);
}

async function ask(form) {
  running = new AbortController();
  const { signal } = running;
  try {
    const { page } = await send(form, { name: "action", value: "preview" }, TIMEOUT_MS, signal);
    if (page && !signal.aborted) takeParts(page, "preview");
  } catch (error) {
    if (!signal.aborted) throw error; // a newer question is on its way
  }
}

export function stopPreview() {
  clearTimeout(timer);
  running?.abort();
}
