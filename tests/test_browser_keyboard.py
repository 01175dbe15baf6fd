"""Without a mouse: Tab reaches everything, shows where it is, and gets out again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser import PHONE, audit_script
from tests.full_site import paths_of

pytestmark = pytest.mark.system

STOPS, FOCUSED = audit_script("stops"), audit_script("focused")
HAS_FOCUS = "(element) => element === document.activeElement"
HOLDS_FOCUS = "(element) => element.contains(document.activeElement)"


def look(page):
    """Say where the focus is; what is wrong there may pass with the next frames."""
    now = settled(page)
    if now["problems"]:  # a live page may have moved under the focus: come here again
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        now = settled(page)
    return now


def settled(page):
    for _ in range(20):
        now = page.evaluate(FOCUSED)
        if not now["problems"]:
            break
        page.wait_for_timeout(50)
    return now


def walk(page):
    """Press Tab until it leaves the page; return what was not reached, or not seen."""
    stops = page.evaluate(STOPS)
    reached: list[int] = []
    problems: list[str] = []
    for _ in range(2 * len(stops) + 20):
        page.keyboard.press("Tab")
        now = look(page)
        if now["isNowhere"] or (reached and now["place"] == reached[0]):
            break
        problems += [each for each in now["problems"] if each not in problems]
        if now["place"] >= 0 and now["place"] not in reached:
            reached.append(now["place"])
    else:
        problems.append("Tab never gets out")
    if reached != sorted(reached):
        problems.append(f"order: {[stops[place] for place in reached]}")
    missed = [stop for place, stop in enumerate(stops) if place not in reached]
    return problems + [f"not reached: {stop}" for stop in missed]


def test_tab_reaches_every_control_of_every_page(
    full_site, new_page, cookies, problems
):
    problems.expect("status of 404")
    page = new_page(storage_state=cookies, reduced_motion="reduce")
    found = []

    for path in ["/login/", *paths_of(full_site)]:
        page.goto(path)
        found += [f"{path}: {problem}" for problem in walk(page)]
    page.set_viewport_size(PHONE)
    for path in paths_of(full_site)[:4]:
        page.goto(path)
        found += [f"phone {path}: {problem}" for problem in walk(page)]

    print("\n".join(found))
    assert found == []


def test_a_dialog_keeps_the_focus_and_gives_it_back(full_site, page):
    page.goto(f"/sites/{full_site['id']}/topics/")
    opener = page.locator("a[data-dialog]").first
    opener.focus()

    page.keyboard.press("Enter")

    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    stops = page.evaluate(STOPS)
    assert len(stops) > 10
    problems, seen = [], set()
    for _ in range(len(stops) + 3):
        page.keyboard.press("Tab")
        now = look(page)
        problems += now["problems"]
        if not now["isNowhere"]:  # the browser's own bar is one of the stops
            assert not now["isOutside"]
            seen.add(now["place"])
    assert problems == []
    assert seen >= set(range(len(stops)))
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert opener.evaluate(HAS_FOCUS)


@pytest.mark.parametrize(("panel", "tabs"), [("bell-panel", 0), ("menu", 2)])
def test_a_panel_opens_closes_and_gives_the_focus_back(page, panel, tabs):
    page.goto("/alerts/")
    opener = page.locator(f"[popovertarget={panel}]")
    opener.focus()

    page.keyboard.press("Enter")

    expect(page.locator(f"#{panel}")).to_be_visible()
    for _ in range(tabs):
        page.keyboard.press("Tab")
    assert page.locator(f"#{panel}").evaluate(HOLDS_FOCUS) is (tabs > 0)
    page.keyboard.press("Escape")
    expect(page.locator(f"#{panel}")).to_be_hidden()
    assert opener.evaluate(HAS_FOCUS)


def test_the_bar_can_be_skipped(page):
    page.goto("/alerts/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"

    page.keyboard.press("Enter")

    assert page.evaluate("document.activeElement.id") == "main"
    assert re.search("#main$", page.url)
