// A page whose only matter is a form: it goes on living, and sends without leaving.

import { goLive } from "./live.js";
import { isPart, takeForms } from "./site_submit.js";

const REFRESH_EVERY_MS = 60000;

const bar = document.getElementById("bar");
const url = bar ? `/events/sites/${bar.dataset.site}/` : "/events/status/";

takeForms(goLive(url, REFRESH_EVERY_MS, { isKept: isPart }));
