"""What stands around every page: keyboard, theme, phone, the bell, lost connections."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import DESKTOP, MEASURE_SHIFTS, PHONE, go_live, row

pytestmark = pytest.mark.system

NO_SHIFT = 0.001
STYLES = Path(__file__).parent.parent / "apps/web/static/web"
# Every control that a toast must not cover, as far as it can be seen.
# The toast stands in the bar, under which the page moves: what is behind the bar is
# covered by the bar.
COVERED = """
() => {
  const bar = document.querySelector(".top").getBoundingClientRect();
  const toast = document.querySelector(".toast").getBoundingClientRect();
  const covers = (box) => box.left < toast.right && box.right > toast.left
    && box.top < toast.bottom && box.bottom > toast.top;
  const covered = [...document.querySelectorAll("a, button, input, summary")]
    .filter((element) => element.checkVisibility({ visibilityProperty: true }))
    .filter((element) => {
      const box = element.getBoundingClientRect();
      return (element.closest(".top") || box.bottom > bar.bottom) && covers(box);
    })
    .map((element) => element.outerHTML);
  return toast.bottom > bar.bottom ? ["outside of the bar", ...covered] : covered;
}
"""
# Where the focus is, and whether it can be seen there.
FOCUS = """
() => {
  const element = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const isVisible = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  return [element.textContent.trim(), isVisible];
}
"""


def test_the_keyboard_reaches_everything_and_shows_where_it_is(system, broker, page):
    site = system.make_site("Browser keyboard", broker.port)
    page.goto("/")
    expect(row(page, site)).to_be_visible()

    seen = []
    for _ in range(9):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUS))

    names = [name for name, _ in seen]
    assert names[0] == "Skip to the content"
    for wanted in ("Guardiano", "Sites", "Alerts", "API", "Administration"):
        assert wanted in names
    assert all(is_visible for _, is_visible in seen), seen
    page.keyboard.press("Shift+Tab")
    page.locator(".bell").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#bell-panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#bell-panel")).to_be_hidden()


def test_dark_is_dark_at_once_and_stays(page):
    page.emulate_media(color_scheme="light")
    page.goto("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)

    page.get_by_role("button", name="Menu").click()
    page.get_by_role("button", name="Dark", exact=True).click()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.wait_for_load_state()
    dark = page.evaluate(ground)
    page.goto("/alerts/")
    assert page.evaluate(ground) == dark != light


def test_dark_follows_the_system_without_a_choice(new_page):
    page = new_page(color_scheme="dark")

    page.goto("/login/")

    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(15, 20, 26)"


@pytest.mark.parametrize("locale", ["en-GB", "it-IT"])
@pytest.mark.parametrize("path", ["/", "site", "/alerts/", "/nowhere/"])
def test_a_phone_never_scrolls_sideways(phone, wide_site, problems, path, locale):
    problems.expect("status of 404")
    page = phone(locale)

    page.goto(wide_site if path == "site" else path)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize(("rows", "row"), [("sites", "site"), ("topics", "topic")])
def test_a_long_list_that_was_wide_fits_a_narrow_window(new_page, rows, row):
    page = new_page()
    styles = [path.read_text() for path in sorted(STYLES.glob("*.css"))]
    items = f"<li class={row}><p>x</p></li>" * 60
    page.set_content(f"<style>{''.join(styles)}</style><ul class={rows}>{items}</ul>")

    # What has been seen is remembered as wide as it was, and not laid out anew.
    for y in range(0, page.evaluate("document.body.scrollHeight"), 300):
        page.evaluate("(y) => scrollTo(0, y)", y)
        page.wait_for_timeout(30)
    page.set_viewport_size(PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_login_fits_a_phone(new_page):
    page = new_page(viewport=PHONE, locale="it-IT")

    page.goto("/login/")

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.fixture
def phone(new_page, cookies):
    return lambda locale: new_page(storage_state=cookies, viewport=PHONE, locale=locale)


@pytest.fixture
def wide_site(system, broker):
    found = system.sql("SELECT id FROM sites_site WHERE name LIKE %s", "WWW%")
    site_id = found[0][0] if found else None
    if site_id is None:
        site_id = system.make_site("W" * 180, broker.port)["id"]
    return f"/sites/{site_id}/"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_toast_covers_nothing_and_the_bell_keeps_it(
    system, broker, new_page, cookies, size
):
    site = system.make_site("Browser toast", broker.port)
    page = new_page(storage_state=cookies, viewport=size)
    page.add_init_script(MEASURE_SHIFTS)
    go_live(page, "/")
    place = row(page, site)
    place.locator("[data-action=start]").click()

    expect(page.locator(".toast")).to_be_visible()
    assert page.evaluate(COVERED) == []
    expect(place.locator("[data-slot=badge]")).to_have_class(re.compile("tone-green"))

    expect(page.locator("#bell-count")).to_have_text("2")  # asked, and done
    page.goto("/alerts/")
    page.locator(".bell").click()
    expect(page.locator("#bell-list li")).to_have_count(2)
    expect(page.locator("#bell-list")).to_contain_text("Browser toast: MQTT connected")
    expect(page.locator("#bell-count")).to_be_hidden()
    system.stop_site(site)
    system.wait_status(site, "disconnected")
