"""Real browsers for the tests: Debian's chromium, driven by Playwright.

A page of ours that logs an error, throws, or breaks its Content-Security-Policy fails
its test. Playwright's synchronous API runs an event loop in this thread for as long as
it is open, and Django's ORM refuses to work beside one: so it is open for one module
at a time, and browser tests ask the system over HTTP (`call`) or by `sql`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from embedded.chromium import HOW_TO_GET, chromium_arguments, chromium_path
from tests.system import ADMIN, System

WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}

# Blocked resources end up in the console as well, but not every kind of violation.
LISTEN = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
});
"""
# How far anything moved without being asked, in the browser's own measure.
MEASURE_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    const names = entry.sources.map(({ node }) => node?.outerHTML ?? node?.data ?? "");
    window.shifts.push([entry.value, names.map((name) => name.slice(0, 120))]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


@dataclass
class Problems:
    """What a browser complained about; a test may expect some of it."""

    found: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        self.expected.append(pattern)

    @property
    def unexpected(self) -> list[str]:
        return [
            problem
            for problem in self.found
            if not any(re.search(pattern, problem) for pattern in self.expected)
        ]

    def watch(self, context: BrowserContext) -> None:
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.found.append(f"error: {error.error}"))
        context.add_init_script(LISTEN)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"{message.type}: {message.text} {message.location}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip(HOW_TO_GET)
    arguments = chromium_arguments()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=arguments)
        yield running
        running.close()


@pytest.fixture
def problems() -> Problems:
    return Problems()


NewPage = Callable[..., Page]


@pytest.fixture
def new_page(
    chromium: Browser, system: System, problems: Problems
) -> Iterator[NewPage]:
    """Open a page in a fresh profile: `new_page(viewport=PHONE, locale="it-IT")`."""
    contexts: list[BrowserContext] = []

    def make(**options: Any) -> Page:
        context = chromium.new_context(
            base_url=system.url, **{"viewport": DESKTOP, "locale": "en-GB"} | options
        )
        context.set_default_timeout(WAIT_MS)
        problems.watch(context)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()
    assert problems.unexpected == []


@pytest.fixture(scope="module")
def cookies(chromium: Browser, system: System) -> Any:
    """The superuser's session: logging in takes a second, so once a module."""
    with chromium.new_context(base_url=system.url) as context:
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.goto("/login/")
        log_in(page, *ADMIN)
        return context.storage_state()


@pytest.fixture
def page(new_page: NewPage, cookies: Any) -> Page:
    """The superuser's page, logged in."""
    return new_page(storage_state=cookies)


def log_in(page: Page, username: str, password: str) -> None:
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", password)
    page.click("main button.primary")
    page.wait_for_url(lambda url: "/login/" not in url)


def audit_script(question: str) -> str:
    """Return what asks audit.js one of its questions, for `page.evaluate`."""
    script = Path(__file__).with_name("audit.js").read_text("utf-8").rstrip()
    return f"() => {script}.{question}()"


def go_live(page: Page, path: str) -> None:
    """Open a page; return when the server has begun to send it events."""
    with page.expect_response("**/events/**"):
        page.goto(path)


def row(page: Page, site: dict[str, Any]) -> Any:
    """A site's row in the list, or its panel on its own page."""
    return page.locator(f"[data-site-id='{site['id']}']")


def total_shift(page: Page, but: str = "") -> float:
    """Return what `MEASURE_SHIFTS` saw; print what moved, for the failing test.

    Args:
        page: the page.
        but: leave out the shifts of elements that hold this in their HTML.
    """
    shifts = page.evaluate("window.shifts")
    for value, names in shifts:
        print(f"shift {value:.4f} {names}")
    return float(
        sum(value for value, names in shifts if not but or but not in str(names))
    )


def make_user(system: System, username: str, site: dict[str, Any], role: str) -> str:
    """Make somebody who is a member of a site; return the password.

    In SQL: Django's ORM refuses to work in a browser test.
    """
    password = f"pw-{username}-1"
    # One round instead of a million: the login writes it anew, with all of them.
    stored = PBKDF2PasswordHasher().encode(password, "salt", iterations=1)
    system.sql(
        "WITH person AS (INSERT INTO auth_user (username, password, is_superuser, "
        "is_staff, is_active, first_name, last_name, email, date_joined) "
        "VALUES (%s, %s, false, false, true, '', '', '', now()) RETURNING id) "
        "INSERT INTO sites_sitemember (site_id, user_id, role) "
        "SELECT %s, id, %s FROM person",
        *(username, stored, site["id"], role),
    )
    return password
