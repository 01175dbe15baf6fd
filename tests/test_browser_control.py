"""Start, stop, and a broker that dies, as the person at the page sees it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser import row

pytestmark = pytest.mark.system

BLUE, GREEN = re.compile("tone-blue"), re.compile("tone-green")
ORANGE, RED = re.compile("tone-orange"), re.compile("tone-red")

# Notes every look of a badge with its time, so that no state is too short to be seen.
WATCH_BADGE = """
(badge) => {
  window.looks = [];
  const note = () => window.looks.push([performance.now(), badge.textContent]);
  new MutationObserver(note).observe(badge, { childList: true, characterData: true,
    subtree: true, attributes: true });
  document.addEventListener("click", () => { window.pressedAt = performance.now(); },
    { capture: true });
}
"""


def test_start_turns_the_badge_blue_at_once_and_green_by_the_broker(
    system, broker, page
):
    site = system.make_site("Browser start", broker.port)
    page.goto("/")
    place = row(page, site)
    badge = place.locator("[data-slot=badge]")
    expect(badge).to_have_class(ORANGE)
    badge.evaluate(WATCH_BADGE)

    place.locator("[data-action=start]").click()

    expect(badge).to_have_class(GREEN)
    pressed_at = page.evaluate("window.pressedAt")
    looks = [(at - pressed_at, text) for at, text in page.evaluate("window.looks")]
    assert looks[0][1] == "Connecting..."
    assert looks[0][0] < 1000  # ms; measured: 5
    assert looks[-1][1] == "MQTT connected"
    expect(place.locator("[data-action=start]")).to_be_disabled()

    place.locator("[data-action=stop]").click()

    expect(badge).to_have_class(ORANGE)
    expect(badge).to_have_text("MQTT disconnected")
    expect(place.locator("[data-action=start]")).to_be_enabled()
    assert system.status(site)["is_enabled"] is False


def test_restart_makes_a_new_link_and_says_how_it_went(system, broker, page):
    site = system.make_site("Browser restart", broker.port)
    first = system.connect(site)["last_connected_at"]
    page.goto(f"/sites/{site['id']}/")
    place = row(page, site)
    badge = place.locator("[data-slot=badge]")
    expect(badge).to_have_class(GREEN)
    badge.evaluate(WATCH_BADGE)

    place.locator("[data-action=restart]").click()

    expect(badge).to_have_class(GREEN)
    # Green again is no news by itself: here it answers the button.
    page.get_by_role("button", name="Notifications").click()
    expect(page.locator("#bell-list")).to_contain_text(
        "Browser restart: MQTT connected"
    )
    assert page.evaluate("window.looks[0][1]") == "Connecting..."
    again = system.wait_status(site, "connected")
    assert again["last_connected_at"] > first
    assert system.status(site)["reason"] == ""


def test_a_broker_that_is_killed_turns_the_badge_red_and_says_why(
    system, own_broker, page
):
    site = system.make_site("Browser broker dies", own_broker.port)
    system.connect(site)
    page.goto(f"/sites/{site['id']}/")
    badge = row(page, site).locator("[data-slot=badge]")
    expect(badge).to_have_class(GREEN)

    own_broker.kill()

    expect(badge).to_have_class(RED)
    reason = row(page, site).locator("[data-slot=reason]")
    expect(reason).to_have_text(
        re.compile("connection lost|nothing accepts connections there")
    )
    expect(row(page, site).locator("[data-slot=retry]")).to_contain_text("try")
    system.stop_site(site)
    system.wait_status(site, "disconnected")
