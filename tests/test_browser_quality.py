"""Every page as a sceptic meets it: both languages, both schemes, three widths.

What is looked for is in audit.js; what a page says of itself to a screen reader is read
from the browser's own accessibility tree.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest
from django.template.loader import render_to_string
from django.utils import translation
from playwright.sync_api import expect

from tests.browser import audit_script, row
from tests.full_site import paths_of
from tests.html_rules import problems_of

pytestmark = pytest.mark.system

LOOK, STRUCTURE = audit_script("look"), audit_script("structure")
WIDTHS, HEIGHT = (360, 768, 1440), 900
SCHEMES = ("light", "dark")
LANGUAGES = {"en": "en-GB", "it": "it-IT"}

PULSE = "document.querySelector('.badge').classList.add('is-pulsing')"
AWAY = """
() => {
  document.getElementById("banner").hidden = false;
  document.documentElement.classList.add("is-away");
}
"""

# Roles of the accessibility tree that mean nothing without a name.
NAMED = {
    *("button", "link", "textbox", "searchbox", "combobox", "checkbox", "spinbutton"),
    *("progressbar", "image", "img", "dialog", "navigation", "listbox", "radio"),
}
# Of each of these a page may have many, if every one has a name of its own.
LANDMARKS = {"navigation", "region", "search"}


@pytest.fixture(params=LANGUAGES)
def language(request):
    return request.param


@pytest.fixture
def look_at(new_page, problems, language):
    """Look at a page of its own; what is wrong with it has to be nothing at the end."""

    class Audit:
        def __init__(self, **options):
            self.page = new_page(
                locale=LANGUAGES[language], reduced_motion="reduce", **options
            )
            self.tree = self.page.context.new_cdp_session(self.page)
            self.found: list[str] = []
            self.titles: Counter[str] = Counter()

        def open(self, path):
            self.look(path, self.page.goto(path).text())
            self.titles[self.page.title()] += 1

        def look(self, what, html=""):
            page = self.page
            nodes = self.tree.send("Accessibility.getFullAXTree")["nodes"]
            wrong = [
                *(problems_of(html) if html else ()),
                *page.evaluate(STRUCTURE),
                *unnamed(nodes),
                *looks(page),
            ]
            if page.evaluate("document.documentElement.lang") != language:
                wrong.append("speaks another language than it says")
            if page.evaluate("document.getAnimations().length"):
                wrong.append("moves, though nothing shall")
            self.found += [f"{what}: {problem}" for problem in wrong]

    problems.expect("status of 4")
    made: list[Audit] = []

    def make(**options):
        made.append(Audit(**options))
        return made[-1]

    yield make
    found = [problem for each in made for problem in each.found]
    print("\n".join(found))
    assert found == []


def test_every_page_stands_up_to_a_sceptical_look(full_site, look_at, cookies):
    eye = look_at(storage_state=cookies)

    for path in paths_of(full_site):
        eye.open(path)

    assert [title for title, count in eye.titles.items() if count > 1] == []
    assert all(re.fullmatch(".+ · Guardiano", title) for title in eye.titles)


def test_so_do_the_pages_for_strangers_and_for_what_went_wrong(look_at, language):
    eye = look_at()
    page = eye.page

    eye.open("/login/")
    page.fill("input[name=username]", "nobody")
    page.fill("input[name=password]", "wrong")
    page.click("main button.primary")
    expect(page.get_by_role("alert")).to_be_visible()
    eye.look("the wrong password", page.content())
    for name in ("400", "403", "403_csrf", "500"):
        with translation.override(language):
            html = render_to_string(f"{name}.html")
        page.route("**/wrong/", answer_with(html))
        eye.open("/wrong/")
        page.unroute("**/wrong/")

    assert len(eye.titles) == 5


def answer_with(html):
    return lambda route: route.fulfill(body=html, content_type="text/html")


@pytest.mark.parametrize("language", ["it"], indirect=True)
def test_so_does_what_opens_over_a_page_and_what_says_no(full_site, look_at, cookies):
    eye = look_at(storage_state=cookies)
    page = eye.page

    def press(button, what):
        """Press; look at what is swapped in, and at the page that now has it."""
        with page.expect_response(lambda each: each.request.method == "POST") as got:
            page.locator(button).click()
        eye.found += [f"{what}: {wrong}" for wrong in problems_of(got.value.text())]
        expect(page.locator(".error, #trial li").first).to_be_visible()
        eye.look(what)

    site = f"/sites/{full_site['id']}/"

    page.goto("/")
    row(page, full_site).locator("[data-action=stop]").click()
    expect(page.locator(".toast")).to_be_visible()
    page.evaluate(PULSE)
    eye.look("a toast, and a badge that pulses")
    row(page, full_site).locator("[data-action=start]").click()
    page.locator(".bell").click()
    expect(page.locator("#bell-list li").first).to_be_visible()
    eye.look("the bell")
    page.locator("[popovertarget=menu]").click()
    eye.look("the menu")
    page.evaluate(AWAY)
    eye.look("while the stream is lost")

    page.goto(f"{site}topics/")
    page.evaluate(AWAY)
    page.locator("#duration").evaluate("(field) => field.removeAttribute('max')")
    page.fill("#duration", "999999")
    press("#discover button.primary", "a session that is refused")
    page.locator("a[data-dialog]").first.click()
    page.locator("dialog [name=use-0]").check()
    page.locator("dialog [name=scale-0]").fill("0")
    press("dialog button.primary", "a mapping that is refused")
    page.goto(f"{site}commands/")
    page.fill("#topic", "else#")
    press("#publish button.primary", "a message that is refused")
    page.goto(f"{site}connection/")
    page.fill("[name=broker_port]", "0")
    press("#settings button.primary", "settings that are refused")
    page.fill("[name=broker_port]", "1")
    press("#settings [value=test]", "a test that fails")


def looks(page):
    """Return what is wrong in any scheme and width: a page is loaded only once."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            for problem in page.evaluate(LOOK):
                yield f"{scheme}, {width} px: {problem}"


def unnamed(nodes):
    """Return what a screen reader could not tell from its neighbours."""
    landmarks: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        role = node.get("role", {}).get("value")
        name = node.get("name", {}).get("value", "").strip()
        if node["ignored"]:
            continue
        if role in NAMED and not name:
            yield f"no name: {role} {node.get('properties')}"
        if role in LANDMARKS:
            landmarks[role, name] += 1
    for landmark, count in landmarks.items():
        if count > 1:
            yield f"{count} times {landmark}"
