"""Values that change under the reader's eyes: nothing moves, nothing runs, nothing lies."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser import MEASURE_SHIFTS, PHONE, row, total_shift
from tests.mqtt import Peer

pytestmark = pytest.mark.system

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>&\"'"
NO_SHIFT = 0.001  # a row that grew by one line: 0.02


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


@pytest.mark.parametrize("locale", ["en-GB", "it-IT"])
def test_a_phone_never_scrolls_sideways(
    system, broker, new_page, cookies, problems, locale
):
    problems.expect("status of 404")
    site = system.make_site("W" * 180, broker.port)
    page = new_page(storage_state=cookies, viewport=PHONE, locale=locale)

    for path in ("/", f"/sites/{site['id']}/", "/nowhere/"):
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], path
