"""Values that change under the reader's eyes: nothing moves, nothing runs."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser import MEASURE_SHIFTS, row, total_shift
from tests.devtools import tasks_ms
from tests.mqtt import Peer

pytestmark = pytest.mark.system

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>&\"'"
NO_SHIFT = 0.001  # a row that grew by one line: 0.02

# The list with 200 sites, and events for them as the stream would bring them.
STORM = """
async () => {
  const list = document.getElementById("sites");
  const pattern = list.querySelector("[data-site-id]");
  for (let id = 100000; id < 100200; id += 1) {
    const row = pattern.cloneNode(true);
    row.dataset.siteId = id;
    row.dataset.key = `site-${id}`;
    row.dataset.name = `Storm ${id}`;
    list.append(row);
  }
  const { src } = document.querySelector("script[src$='/bell.js']");
  const { receiveStatus, findPlaces } = await import(new URL("live.js", src));
  findPlaces();
  const end = performance.now() + 2000;
  const statuses = ["connected", "error", "connecting"];
  let n = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 17; i += 1, n += 1) { // 1,000 a second in 60 frames
      const status = statuses[n % 3];
      const site_id = 100000 + n % 200;
      receiveStatus({ site_id, status, is_enabled: true, reason: "" });
    }
    await new Promise(requestAnimationFrame);
  }
  return document.querySelectorAll(".toast").length; // they stay for five seconds only
}
"""


def test_values_change_live_and_nothing_else_moves(system, broker, page):
    site = system.make_site("Browser live", broker.port)
    system.connect(site)
    with Peer(broker.port) as peer:

        def say(value):
            values = {"temp": value, "long": "x" * int(10 + value)}
            peer.publish(f"{site['code']}/datalogger/a/1/data", {"values": values})

        page.add_init_script(MEASURE_SHIFTS)
        page.goto(f"/sites/{site['id']}/")
        say(1)
        temp = page.locator(".sensor", has_text="temp").locator("[data-slot=value]")
        expect(temp).to_have_text("1")  # a device nobody knew: the page asked for it
        page.wait_for_timeout(2500)  # its own refetch, as after every change
        page.evaluate("window.shifts.length = 0")

        for value in (22.5, 1234.5, 7):
            say(value)
            expect(temp).to_have_text(f"{value:,}")

        assert total_shift(page) < NO_SHIFT


def test_names_and_topics_full_of_markup_are_text(system, broker, page):
    site = system.make_site(MARKUP, broker.port)
    system.connect(site)
    with Peer(broker.port) as peer:
        page.goto(f"/sites/{site['id']}/")
        body = {"label": MARKUP, "firmware": MARKUP}
        peer.publish(
            f"{site['code']}/datalogger/{MARKUP.replace('/', '')}/1/data",
            {
                "values": {"state": MARKUP},
            },
        )
        peer.publish(f"{site['code']}/datalogger/a/2/heartbeat", body)
        peer.publish(
            f"{site['code']}/datalogger/a/2/data", {"values": {"state": MARKUP}}
        )

        value = page.locator(".sensor [data-slot=value]").last
        expect(value).to_have_text(MARKUP)
        peer.publish(
            f"{site['code']}/datalogger/a/2/data",
            {"values": {"state": "again" + MARKUP}},
        )
        expect(value).to_have_text("again" + MARKUP)  # the live path, too
    expect(page.locator("h1")).to_contain_text(MARKUP)
    page.goto("/")
    expect(row(page, site)).to_contain_text(MARKUP)
    assert page.locator("img[src=x]").count() == 0


def test_a_storm_of_events_leaves_the_page_quick(
    system, broker, chromium, page, problems
):
    """What 200 sites with 5 events a second each do to the list, in two seconds."""
    problems.expect("ERR_FAILED|refresh failed")
    site = system.make_site("Storm", broker.port)
    page.route("**/", without_refetch)  # the server knows nothing of these sites
    page.add_init_script(MEASURE_SHIFTS)
    page.goto("/")
    expect(row(page, site)).to_be_visible()

    page.evaluate("window.shifts.length = 0")
    chromium.start_tracing(page=page, categories=["toplevel"])

    toasts = page.evaluate(STORM)

    # Measured: 20 to 60. One may be taken for as long as the machine stood still.
    assert sorted(tasks_ms(chromium.stop_tracing()))[-2] < 200
    assert total_shift(page) < NO_SHIFT
    assert toasts == 1
    page.locator(".bell").click()
    expect(page.locator("#bell-list li")).to_have_count(50)


def without_refetch(route):
    if route.request.resource_type == "fetch":
        route.abort()
    else:
        route.continue_()
