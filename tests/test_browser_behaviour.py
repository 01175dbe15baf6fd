"""How pages behave: for a newcomer, elsewhere in the world, with nothing to show."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser import go_live, row
from tests.mqtt import Peer
from tests.system import ADMIN, until

pytestmark = pytest.mark.system

MARKUP = "<img src=x onerror=alert(1)>&\"'"
# Notes all that a screen reader is told, however short it stands there.
HEAR = """
() => {
  window.heard = [];
  const place = document.querySelector("#announcer[role=status]");
  new MutationObserver(() => window.heard.push(place.textContent))
    .observe(place, { childList: true });
}
"""


def test_a_newcomer_needs_three_clicks_to_a_chart_that_moves(system, broker, new_page):
    site = system.make_site("Newcomer", broker.port)
    system.connect(site)
    page = new_page()
    with Peer(broker.port) as peer:

        def say(value):
            topic = f"{site['code']}/datalogger/a/1/data"
            peer.publish(topic, {"values": {"n": value}})

        say(1)
        until(lambda: system.values_of(site) == [1], "the sensor")

        page.goto("/")
        page.fill("input[name=username]", ADMIN[0])
        page.fill("input[name=password]", ADMIN[1])
        page.click("main button.primary")
        expect(row(page, site).locator(".badge")).to_have_class(re.compile("green"))
        row(page, site).get_by_role("link", name="Newcomer").click()
        # Anywhere on its card, over all of which the link is stretched.
        page.locator(".sensor").click()

        # Of a device of this minute the chart shows minutes, not an empty day.
        expect(page.locator("button[name=range][aria-pressed=true]")).to_have_text(
            "15 min"
        )
        expect(page.locator("#chart canvas")).to_be_visible()
        say(42)
        expect(page.locator("#readout")).to_contain_text("42")


def test_every_time_has_the_readers_own_beside(full_site, new_page, cookies):
    page = new_page(storage_state=cookies, timezone_id="America/New_York")
    for path in ("/alerts/", f"/sites/{full_site['id']}/"):
        page.goto(path)
        times = page.locator("[data-live] time:not([data-age], [data-until])")
        roman = "[data-zone='Europe/Rome'] time:not([data-age], [data-until])"
        expect(page.locator(roman).first).to_contain_text(
            re.compile("CES?T .*your time: .*GMT-[45]")
        )
        page.wait_for_timeout(2500)  # a refetch leaves them as they are
        count = times.count()
        assert page.locator(".yours").count() == count > 0
    age = page.locator("time[data-age]").first
    age.hover()
    expect(age).to_have_attribute("title", re.compile("your time"))


def test_a_site_with_nothing_says_what_will_be_there(system, broker, page):
    site = system.make_site("Empty", broker.port)
    own = f"/sites/{site['id']}/"
    for path, words in (
        (own, "Nothing has happened yet"),
        (own, "No datalogger has spoken yet"),
        (f"{own}topics/", "Every topic that has come in is read"),
        (f"{own}topics/?q=nothing", "No topic fits the filter"),
        (f"{own}messages/", "Nothing has come in since this page was opened"),
        (f"{own}quarantine/", "Every message was understood"),
        (f"{own}quarantine/?replayed=1", "Nothing was understood afterwards"),
        (f"{own}commands/", "Nothing was published for this site yet"),
        ("/?q=nosuchsite", "No site fits the filter"),
    ):
        page.goto(path)
        expect(page.get_by_text(words)).to_be_visible()
    page.locator(".bell").click()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()


def test_names_full_of_markup_are_text_wherever_they_appear(system, broker, page):
    site = system.make_site(MARKUP, broker.port)
    own = f"/sites/{site['id']}/"
    page.goto("/")
    row(page, site).locator("[data-action=start]").click()
    expect(page.locator(".toast")).to_contain_text(MARKUP)
    expect(page.locator("#announcer")).to_contain_text(MARKUP)
    system.wait_status(site, "connected")
    page.locator(".bell").click()
    expect(page.locator("#bell-list li").last).to_contain_text(MARKUP)

    page.goto(own)
    assert MARKUP in page.title()
    with Peer(broker.port) as peer:
        for value in (1, 2):
            peer.publish(
                f"{site['code']}/datalogger/a/1/data",
                {
                    "v": 2,
                    "readings": [
                        {"id": MARKUP, "label": MARKUP, "value": value, "unit": "<b>"}
                    ],
                },
            )
        sensor = page.locator(".sensor-label")
        expect(sensor).to_contain_text(MARKUP)
        sensor.click()
        expect(page.locator("#readout")).to_contain_text(MARKUP)
        assert MARKUP in page.title()
        page.locator("#values summary").click()
        expect(page.locator("#values tbody tr").first).to_be_visible()
        with page.expect_download() as download:
            page.click("#csv")
        name = download.value.suggested_filename
        assert re.fullmatch(r"[\w.+-]+\.csv", name), name
        page.goto(f"{own}messages/")

        def say():
            peer.publish(f"{site['code']}/datalogger/a/1/data", MARKUP)
            return page.locator("#tail-list li").count()

        until(say, "the tail", every_s=0.5)
        expect(page.locator(".tail-payload").first).to_have_text(MARKUP)
    assert page.locator("img[src=x]").count() == 0


def heard_of(page, name):
    return [words for words in page.evaluate("window.heard") if name in words]


def test_what_is_done_is_said_to_those_who_do_not_see_it(system, broker, page):
    site = system.make_site("Heard", broker.port)
    go_live(page, "/")
    page.evaluate(HEAR)
    badge = row(page, site).locator("[data-slot=badge]")

    row(page, site).locator("[data-action=start]").click()
    expect(badge).to_have_text("MQTT connected")
    row(page, site).locator("[data-action=stop]").click()
    expect(badge).to_have_text("MQTT disconnected")

    wanted = [
        "Start requested: Heard",
        "Heard: MQTT connected",
        "Stop requested: Heard",
        "Heard: MQTT disconnected",
    ]
    until(lambda: heard_of(page, "Heard") == wanted, "all four are said")


def test_what_came_of_a_button_is_said_last(system, broker, page):
    """Even if it is known before the request has its response."""
    site = system.make_site("Overtaken", broker.port)
    system.connect(site)
    badge = row(page, site).locator("[data-slot=badge]")

    def answer_late(route):
        response = route.fetch()
        expect(badge).to_have_text("MQTT disconnected")
        route.fulfill(response=response)

    page.route("**/stop/", answer_late)
    go_live(page, "/")
    page.evaluate(HEAR)

    row(page, site).locator("[data-action=stop]").click()

    wanted = ["Stop requested: Overtaken", "Overtaken: MQTT disconnected"]
    until(lambda: heard_of(page, "Overtaken") == wanted, "both are said")
