// Discovered topics: a session live, and the dialog that accepts a topic.

import { serverNow } from "./clock.js";
import { goLive } from "./live.js";
import { notify } from "./notices.js";
import { livenForm, stopPreview } from "./site_mapping.js";
import { isPart, takeForms } from "./site_submit.js";
import { fill, texts } from "./texts.js";

const REFRESH_EVERY_MS = 30000;
const TIMEOUT_MS = 15000;

const { site } = document.getElementById("bar").dataset;
const dialog = document.getElementById("dialog");
let opener = null;

const refresh = goLive(`/events/sites/${site}/`, REFRESH_EVERY_MS, {
  // A question that stands open is not taken away, nor is what is typed.
  isKept: (have) => isPart(have) && have.contains(document.activeElement)
    && document.activeElement.matches("input, textarea"),
  handlers: (again) => ({
    discovery(data) {
      if (data.session) showSession(data.session, again);
      again(300);
    },
  }),
});

takeForms(refresh, {
  onDone(form) { if (dialog?.contains(form)) dialog.close(); },
});

function showSession(session, again) {
  const place = document.querySelector("#session .session");
  if (place?.dataset.session !== String(session.id) || place.dataset.state !== session.state) {
    again();
    return;
  }
  const { messages, topics } = session;
  place.querySelector("[data-slot=heard]").textContent = fill(texts.site.heard, { messages, topics });
}

/** Move the bar by the server's clock between two events. */
setInterval(() => {
  const bar = document.querySelector("#session progress");
  if (!bar) return;
  const left = (Date.parse(bar.dataset.untilProgress) - serverNow()) / 1000;
  bar.value = Math.min(bar.max, Math.max(0, bar.max - left));
  if (left < -2) refresh();
}, 500);

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog]");
  const isPlain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.button);
  if (link && dialog && isPlain) {
    event.preventDefault();
    open(link);
  } else if (event.target.closest("[data-close]") && dialog?.open) {
    event.preventDefault();
    dialog.close();
  }
});

async function open(link) {
  let page;
  try {
    const response = await fetch(link.href, {
      cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!response.ok || response.redirected) {
      notify({ text: texts.site.failed, tone: "red" });
      return;
    }
    page = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch (error) {
    console.info("no form:", error.name);
    notify({ text: texts.site.silent, tone: "red" });
    return;
  }
  const part = document.importNode(page.getElementById("mapping"), true);
  dialog.replaceChildren(part);
  livenForm(part.querySelector("form"));
  opener = link.closest("[data-key]")?.dataset.key;
  dialog.showModal();
}

dialog?.addEventListener("close", () => {
  stopPreview();
  dialog.replaceChildren();
  // The list may have been drawn anew meanwhile: back to the same topic, if it is there.
  document.querySelector(`[data-key="${opener}"] a[data-dialog]`)?.focus();
});
