// The list of sites: badges live, and a filter that does not ask the server.

import { goLive } from "./live.js";

const REFRESH_EVERY_MS = 30000; // device counts and last messages come with it

const form = document.getElementById("filter");
const input = form.elements.q;
let wantedStatus = new URLSearchParams(location.search).get("status") ?? "";

function applyFilter() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...document.querySelectorAll("#sites > li")];
  let shown = 0;
  for (const row of rows) {
    const fits = (!wantedStatus || row.dataset.status === wantedStatus)
      && words.every((word) => row.dataset.search.includes(word));
    row.hidden = !fits;
    shown += fits;
  }
  document.getElementById("no-match").hidden = shown > 0 || rows.length === 0;
  for (const chip of form.querySelectorAll(".chip")) {
    chip.setAttribute("aria-pressed", String(chip.value === wantedStatus));
  }
}

/** Keep the filter in the address, for a reload or a bookmark. */
function remember() {
  const query = new URLSearchParams();
  if (input.value.trim()) query.set("q", input.value.trim());
  if (wantedStatus) query.set("status", wantedStatus);
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

input.addEventListener("input", () => { applyFilter(); remember(); });
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const chip = event.submitter; // Enter in the field presses the default button
  if (chip?.name === "status" && !("default" in chip.dataset)) wantedStatus = chip.value;
  applyFilter();
  remember();
});

applyFilter();
goLive("/events/status/", REFRESH_EVERY_MS, {
  onApplied: applyFilter,
  onStatus: applyFilter,
});
