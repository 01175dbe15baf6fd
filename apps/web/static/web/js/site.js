// One site: its connection, and its devices' presence and values as they come.

import { serverNow, setAge } from "./clock.js";
import { goLive } from "./live.js";
import { Order } from "./order.js";
import { showPresence } from "./presence.js";
import { isPart, takeForms } from "./site_submit.js";
import { keepValues, timeOf } from "./values.js";
import { momentsOf } from "./zones.js";

const REFRESH_EVERY_MS = 60000;

const page = document.getElementById("live");
const values = keepValues(page, momentsOf(page.dataset.zone));
const strangers = new Set(); // ids asked for already: they may be on another page
const order = new Order();

/** Ask the server for what this page does not know, once for each. */
function meetStranger(name, refresh) {
  if (strangers.has(name)) return;
  strangers.add(name);
  refresh(Math.random() * 1000);
}

const handlers = (refresh) => ({
  telemetry(data) {
    const { isSeen, isMissed } = order.take(data);
    if (isSeen) return;
    if (isMissed) refresh(Math.random() * 1000);
    for (const { sensor_id: id, value, at } of data.values) {
      values.take(id, value, new Date(at));
      if (!values.has(id)) meetStranger(`sensor ${id}`, refresh);
    }
    const last = page.querySelector("[data-slot=last-message]");
    setAge(last, new Date(serverNow()));
  },
  device(data) {
    const kind = data.gateway_id === undefined ? "datalogger" : "gateway";
    const id = Number(data[`${kind}_id`]);
    const element = page.querySelector(`[data-${kind}-id="${id}"]`);
    if (element) {
      showPresence(element, data.presence);
      element.querySelector("[data-slot=cause]")?.replaceChildren(); // comes with the refetch
    } else {
      meetStranger(`${kind} ${id}`, refresh);
    }
    refresh(1000 + Math.random() * 1000); // how many are online
  },
});

values.find();
const refresh = goLive(`/events/sites/${page.dataset.site}/`, REFRESH_EVERY_MS, {
  handlers,
  onApplied: values.find,
  onOpen: () => order.reset(),
  isKept: (have, want) => isPart(have)
    || ("sensorId" in have.dataset && timeOf(have) > timeOf(want)),
});
takeForms(refresh);
