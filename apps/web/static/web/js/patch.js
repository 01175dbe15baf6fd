// Forms that change one thing through the API: what is written is what is sent.

import { ask } from "./api.js";
import { texts } from "./texts.js";

export function listenToForms(refresh) {
  for (const form of document.querySelectorAll("form[data-patch]")) {
    form.querySelector("button").disabled = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      save(form, refresh);
    });
  }
}

async function save(form, refresh) {
  const button = form.querySelector("button");
  button.disabled = true;
  say(form, "", "");
  try {
    await ask(form.dataset.patch, { method: "PATCH", body: bodyOf(form) });
    say(form, texts.saved, "green");
    refresh();
  } catch (error) {
    say(form, error.message && error.status ? error.message : texts.notSaved, "red");
  }
  button.disabled = false;
}

function bodyOf(form) {
  const fields = [...form.elements].filter(({ name }) => name);
  return Object.fromEntries(fields.map(({ name, type, value }) => {
    if (type !== "number") return [name, value];
    return [name, value === "" ? null : Number(value)];
  }));
}

/** Show the outcome below a form; `tone` as of a badge. */
export function say(form, sentence, tone) {
  const place = form.querySelector(".result");
  place.className = tone ? `result tone-${tone}` : "result";
  place.textContent = sentence;
}
