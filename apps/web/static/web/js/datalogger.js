// One datalogger: values, the history of chosen sensors, commands.

import { listenToCommands } from "./command.js";
import { moments, startDevice } from "./device.js";
import { queryOf, readingsUrl } from "./history.js";
import { Panel } from "./panel.js";
import { listenToForms } from "./patch.js";
import { notify } from "./notices.js";
import { fill, texts } from "./texts.js";

const MOST = 6; // as many colours can be told apart

const section = document.getElementById("history");
const colours = new Map(); // sensor id -> series, kept for as long as it is shown

function boxes() {
  return [...section.querySelectorAll("input[name=s]")];
}

function chosen() {
  const checked = boxes().filter(({ checked }) => checked);
  const ids = new Set(checked.map(({ value }) => value));
  for (const id of colours.keys()) if (!ids.has(id)) colours.delete(id);
  for (const id of ids) if (!colours.has(id)) colours.set(id, freeColour());
  showColours();
  return checked.map(({ value, dataset: { kind, label, unit } }) => ({
    id: Number(value), kind, label, unit, series: colours.get(value),
  }));
}

function freeColour() {
  const taken = new Set(colours.values());
  return [1, 2, 3, 4, 5, 6].find((number) => !taken.has(number)) ?? MOST;
}

function showColours() {
  for (const box of boxes()) {
    const label = box.closest("label");
    if (colours.has(box.value)) label.dataset.series = colours.get(box.value);
    else delete label.dataset.series;
  }
}

function showFiles({ range: { question }, histories }) {
  const links = histories.map(({ id, label, interval }) => {
    const link = document.createElement("a");
    link.href = `${readingsUrl(id)}?${queryOf({ ...question, interval })}&format=csv`;
    link.download = "";
    link.textContent = `CSV: ${label}`;
    return link;
  });
  section.querySelector("#csv-links").replaceChildren(...links);
}

const panel = section && new Panel(section, moments, chosen, showFiles);
section?.addEventListener("change", ({ target }) => {
  if (target.name !== "s") return;
  if (target.checked && boxes().filter(({ checked }) => checked).length > MOST) {
    target.checked = false;
    notify({ text: fill(texts.chart.mostSensors, { n: MOST }), tone: "orange" });
    return;
  }
  panel.load();
});

const commands = listenToCommands();
const refresh = startDevice({
  onValue: (...news) => panel?.take(...news),
  onMissed: () => panel?.catchUp(),
  onPresence: () => panel?.catchUp(),
  onCommand: (data) => commands.hear(data),
  onApplied: showColours,
});
listenToForms(refresh);
