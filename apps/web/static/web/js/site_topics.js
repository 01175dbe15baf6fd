// Discovered topics: a session live, and the dialog that accepts a topic.

import { serverNow } from "./clock.js";
import { closeWith, takeLinks } from "./dialog.js";
import { goLive } from "./live.js";
import { isPart, takeForms } from "./site_submit.js";
import { fill, texts } from "./texts.js";

const REFRESH_EVERY_MS = 30000;

const { site } = document.getElementById("bar").dataset;

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

takeForms(refresh, { onDone: closeWith });
takeLinks();

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
