// The quarantine: choose all of a page, and what was read again leaves the list.

import { closeWith, takeLinks } from "./dialog.js";
import { goLive } from "./live.js";
import { isPart, takeForms } from "./site_submit.js";

const REFRESH_EVERY_MS = 15000;

const { site } = document.getElementById("bar").dataset;

const refresh = goLive(`/events/sites/${site}/`, REFRESH_EVERY_MS, {
  isKept: isPart,
  onApplied: showAll,
});

takeForms(refresh, {
  onDone(form) {
    closeWith(form);
    for (const box of boxes(form)) box.checked = false;
    showAll();
  },
});
takeLinks();

const boxes = (place = document) => [...place.querySelectorAll("input[name=id]:not(:disabled)")];

/** Say whether all, some or none are chosen. */
function showAll() {
  const all = document.getElementById("all");
  if (!all) return;
  const found = boxes();
  const chosen = found.filter((box) => box.checked).length;
  all.checked = found.length > 0 && chosen === found.length;
  all.indeterminate = chosen > 0 && chosen < found.length;
}

document.addEventListener("change", ({ target }) => {
  if (target.id === "all") for (const box of boxes()) box.checked = target.checked;
  showAll();
});
