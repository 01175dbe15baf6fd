// The dialog of a mapping: a link's page opens in it, where this script runs.

import { ApiError, fetchPage } from "./api.js";
import { livenForm, stopPreview } from "./site_mapping.js";
import { notify } from "./notices.js";
import { texts } from "./texts.js";

const dialog = document.getElementById("dialog");
let opener = null;

/** Have links with `data-dialog` open here. */
export function takeLinks() {
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
}

/** Close it if the form is in there: it has done its work. */
export function closeWith(form) {
  if (dialog?.contains(form)) dialog.close();
}

async function open(link) {
  const part = await fetchForm(link.href);
  if (!part) return;
  dialog.replaceChildren(part);
  livenForm(part.querySelector("form"));
  opener = link.closest("[data-key]")?.dataset.key;
  dialog.showModal();
}

async function fetchForm(url) {
  try {
    const page = await fetchPage(url);
    return document.importNode(page.getElementById("mapping"), true);
  } catch (error) {
    console.info("no form:", error.name);
    const { failed, silent } = texts.site;
    notify({ text: error instanceof ApiError ? failed : silent, tone: "red" });
    return null;
  }
}

dialog?.addEventListener("close", () => {
  stopPreview();
  dialog.replaceChildren();
  // The list may have been drawn anew meanwhile: back to the same entry, if it is there.
  const link = document.querySelector(`[data-key="${opener}"] a[data-dialog]`);
  (link ?? document.getElementById("main")).focus();
});
