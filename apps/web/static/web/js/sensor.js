// One sensor: its value, and its history.

import { moments, startDevice } from "./device.js";
import { queryOf, readingsUrl } from "./history.js";
import { Panel } from "./panel.js";
import { listenToForms } from "./patch.js";

const section = document.getElementById("history");
const values = document.getElementById("values");
const csv = document.getElementById("csv");
const { sensor: id, kind, label, unit } = section.dataset;
const sensor = { id: Number(id), kind, label, unit, series: 1 };
const isText = kind === "text";

if (isText) {
  section.classList.add("is-text");
  values.open = true; // its changes are what there is to see
}

const panel = new Panel(section, moments, () => [sensor], ({ range: { question }, histories }) => {
  const interval = histories[0]?.interval ?? question.interval;
  csv.href = `${readingsUrl(sensor.id)}?${queryOf({ ...question, interval })}&format=csv`;
});

const refresh = startDevice({
  onValue: (...news) => panel.take(...news),
  onMissed: () => panel.catchUp(),
  onPresence: () => panel.catchUp(),
});
listenToForms(refresh);
