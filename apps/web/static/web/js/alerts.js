// The page of alerts: asked for again when any status changes, and every now and then.

import { goLive } from "./live.js";

const REFRESH_EVERY_MS = 20000;

goLive("/events/status/", REFRESH_EVERY_MS, {});
