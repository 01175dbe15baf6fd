"""Takes pictures of the pages of a running system, with Playwright and chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    sync_playwright,
)

from embedded.chromium import chromium_arguments
from embedded.errors import DevError

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
WAIT_MS = 30_000
SETTLED_MS = 300  # a toast or a curve may still be on its way


class NotTakenError(DevError):
    """A picture that could not be taken; the message is one line and says which."""

    def __init__(self, name: str, error: Error) -> None:
        super().__init__(f"{name}: {error.message.strip().splitlines()[0]}")


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at; the name becomes part of the file's."""

    name: str
    viewport: dict[str, int]
    is_dark: bool = False
    locale: str = "en-GB"


@dataclass(frozen=True, slots=True)
class Shot:
    """One page: `ready` is what has to be visible in it before the picture is taken."""

    name: str
    path: str
    ready: str = "main"
    is_public: bool = False


# The wide and light ones, which people look at first, last: the longer the devices
# speak, the more there is to see.
LOOKS = (
    Look("phone-dark-en", PHONE, is_dark=True),
    Look("phone-light-en", PHONE),
    Look("phone-light-it", PHONE, locale="it-IT"),
    Look("wide-dark-en", WIDE, is_dark=True),
    Look("wide-light-it", WIDE, locale="it-IT"),
    Look("wide-light-en", WIDE),
)
IN_ITALIAN = frozenset({"overview", "site", "datalogger", "login"})


@dataclass(frozen=True, slots=True)
class Subjects:
    """Ids of what the pictures show."""

    site: int
    datalogger: int
    sensor: int


def shots_of(subjects: Subjects) -> tuple[Shot, ...]:
    site = f"/sites/{subjects.site}/"
    return (
        Shot("overview", "/", "[data-site-id] .tone-green"),
        Shot("site", site, "[data-sensor-id]"),
        Shot("site-topics", f"{site}topics/", ".topic"),
        Shot("site-messages", f"{site}messages/", "#tail-list li"),
        Shot("site-quarantine", f"{site}quarantine/", ".quarantined"),
        Shot("site-commands", f"{site}commands/", ".command"),
        Shot("site-connection", f"{site}connection/", "main form"),
        Shot("site-edit", f"{site}edit/", "main form"),
        Shot("datalogger", f"/dataloggers/{subjects.datalogger}/?range=1h", "canvas"),
        Shot("sensor", f"/sensors/{subjects.sensor}/?range=7d", "canvas"),
        Shot("alerts", "/alerts/"),
        Shot("login", "/login/", "main form", is_public=True),
    )


def take(
    url: str,
    login: tuple[str, str],
    shots: Sequence[Shot],
    *,
    chromium: str,
    folder: Path,
    looks: Sequence[Look] = LOOKS,
    say: Callable[[str], None],
) -> int:
    """Take each shot in each look; returns how many pictures there are.

    Args:
        url: of the running system.
        login: user and password.
        shots: what to take; in Italian only those of IN_ITALIAN.
        chromium: path of the browser.
        folder: where NAME-LOOK.png goes, replacing an older one.
        looks: how to look at them.
        say: told of each look before its pictures; may raise to end it all.

    Raises:
        NotTakenError: a page did not become ready, or the browser died.
        playwright.sync_api.Error: the browser cannot be started, or the login failed.
    """
    count = 0
    with sync_playwright() as playwright, ExitStack() as stack:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=chromium_arguments()
        )
        stack.callback(browser.close)
        session = _session(browser, url, login)
        for look in looks:
            chosen = _chosen(shots, look)
            say(f"{look.name}: {', '.join(shot.name for shot in chosen)}")
            for state in (session, None):
                wanted = [shot for shot in chosen if shot.is_public == (state is None)]
                with _context(browser, url, look, state) as context:
                    count += _take_all(context, wanted, folder, look)
    return count


def _chosen(shots: Iterable[Shot], look: Look) -> list[Shot]:
    is_english = look.locale.startswith("en")
    return [shot for shot in shots if is_english or shot.name in IN_ITALIAN]


def _session(browser: Browser, url: str, login: tuple[str, str]) -> Any:  # noqa: ANN401 (Playwright's own type)
    with browser.new_context(base_url=url) as context:
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.goto("/login/")
        page.fill("input[name=username]", login[0])
        page.fill("input[name=password]", login[1])
        page.click("main button.primary")
        page.wait_for_selector("[data-site-id]")
        return context.storage_state()


def _context(browser: Browser, url: str, look: Look, state: Any) -> BrowserContext:  # noqa: ANN401
    context = browser.new_context(
        base_url=url,
        viewport=look.viewport,  # type: ignore[arg-type]
        color_scheme="dark" if look.is_dark else "light",
        locale=look.locale,
        timezone_id="Europe/Rome",
        reduced_motion="reduce",
        storage_state=state,
    )
    context.set_default_timeout(WAIT_MS)
    return context


def _take_all(
    context: BrowserContext, shots: Iterable[Shot], folder: Path, look: Look
) -> int:
    page: Page = context.new_page()
    count = 0
    for shot in shots:
        name = f"{shot.name}-{look.name}"
        try:
            page.goto(shot.path)
            page.wait_for_selector(shot.ready)
            # A window as high as the page: what is out of sight may not be drawn.
            height = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({**look.viewport, "height": height})  # type: ignore[typeddict-item]
            page.wait_for_timeout(SETTLED_MS)
            page.screenshot(path=folder / f"{name}.png", full_page=True)
            page.set_viewport_size(look.viewport)  # type: ignore[arg-type]
        except Error as error:
            raise NotTakenError(name, error) from error
        count += 1
    return count
