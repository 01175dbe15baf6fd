"""What a browser gets and how it fares: the weight of first visits, and two storms.

    DATABASE_URL=… REDIS_URL=… .venv/bin/python -m bench.browser [--what weights]

On the data of `bench.pages`, so the database and the Redis must be scratch ones.
`weights` sums what Chromium received for each page with an empty cache (headers, too;
event streams not). `storms` feeds the list of sites 200 x 5 status events a second,
then a site's page 200 values five times a second, and measures what holds up the page
and moves. A task's CPU time is judged, since by the clock it also waits for the other
processes of a busy machine. Needs Debian's chromium.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from playwright.sync_api import sync_playwright

from bench.pages import (
    GOAL_KB,
    add_sizes,
    environment,
    log_in,
    manage,
    paths,
    prepare,
    server,
)
from embedded.chromium import HOW_TO_GET, chromium_arguments, chromium_path
from tests.devtools import received, tasks_ms

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MOST_TASK_MS, MOST_SHIFT = 200, 0.001
SETTLE_MS = 2_500  # the first refetch, and what it draws
MEASURE = """
window.seen = { tasks: [], shifts: [], frame: 0, frames: 0 };
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) window.seen.tasks.push(duration);
}).observe({ type: "longtask" });
new PerformanceObserver((list) => {
  for (const { value, sources, hadRecentInput } of list.getEntries()) {
    if (hadRecentInput) continue;
    const names = sources.map(({ node }) => node?.outerHTML ?? node?.data ?? "");
    const what = names.map((name) => name.slice(0, 90));
    window.seen.shifts.push([value, what]);
  }
}).observe({ type: "layout-shift" });
let last = performance.now();
requestAnimationFrame(function next(now) {
  window.seen.frame = Math.max(window.seen.frame, now - last);
  window.seen.frames += 1;
  last = now;
  requestAnimationFrame(next);
});
"""


def main() -> int:
    options = parse()
    env = environment()
    prepare(env, options)
    with server(env) as (url, _pid), chromium() as browser:
        with httpx.Client(base_url=url, timeout=60) as client:
            log_in(client)
            known = paths(client)
            cookies = dict(client.cookies)
        bench = Bench(browser, url, cookies, env)
        good = True
        if "weights" in options.what:
            pages = ["/login/", *filter(is_page, known)]
            good = min([bench.weigh(path) for path in pages])
        if "storms" in options.what:
            site = next(path for path in known if path.startswith("/sites/"))
            good &= bench.brave("/", "statuses", options.seconds)
            good &= bench.brave(site, "values", options.seconds)
    return 0 if good else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    both = ("weights", "storms")
    parser.add_argument("--what", choices=both, action="append", help="default: both")
    parser.add_argument("--seconds", type=int, default=10, help="of each storm")
    add_sizes(parser)
    options = parser.parse_args()
    options.what = options.what or both
    return options


def is_page(path: str) -> bool:
    return not path.startswith(("/admin/", "/api/", "/nowhere/")) and "?" not in path


@contextmanager
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    assert path, HOW_TO_GET
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=chromium_arguments()
        )
        yield browser
        browser.close()


@dataclass(frozen=True, slots=True)
class Bench:
    """A browser, the system it visits, and who visits."""

    browser: Browser
    url: str
    cookies: dict[str, str]
    env: dict[str, str]

    @contextmanager
    def page(self, *, is_known: bool = True) -> Iterator[Page]:
        """Open a page in a fresh profile, logged in if it is known."""
        with self.browser.new_context(base_url=self.url) as context:
            context.set_default_timeout(60_000)
            for name, value in self.cookies.items() if is_known else ():
                context.add_cookies([{"name": name, "value": value, "url": self.url}])
            yield context.new_page()

    def weigh(self, path: str) -> bool:
        """Print what a first visit transfers; False if that is too much."""
        with self.page(is_known=path != "/login/") as page:
            sizes = received(page)
            page.goto(path)
            page.wait_for_timeout(SETTLE_MS)
        kinds = Counter[str]()
        for kind, size in sizes:
            kinds[kind] += size
        # What scripts ask for later is no part of the page; it grows with the data.
        total = sum(size for kind, size in sizes if kind not in ("Fetch", "XHR"))
        each = ", ".join(
            f"{kind} {size / 1e3:.1f}" for kind, size in kinds.most_common()
        )
        print(f"{path:28} {total / 1e3:6.1f} kB, {len(sizes):2} answers ({each})")
        return total < GOAL_KB * 1000

    def brave(self, path: str, kind: str, seconds: int) -> bool:
        """Print how a page fares in a storm; False if it freezes or moves."""
        script = f"from bench.scenery import storm; storm({kind!r}, {seconds})"
        with self.page() as page:
            page.goto(path)
            page.wait_for_timeout(SETTLE_MS)
            page.evaluate(MEASURE)
            self.browser.start_tracing(page=page, categories=["toplevel"])
            said = manage("shell", "--no-imports", "-c", script, env=self.env)
            page.wait_for_timeout(SETTLE_MS)
            tasks = tasks_ms(self.browser.stop_tracing())
            seen = page.evaluate("window.seen")
        shift = sum(value for value, _ in seen["shifts"])
        print(
            f"{int(said):,} {kind} on {path}: longest task {max(tasks):.0f} ms CPU, "
            f"all {sum(tasks):.0f}; by the clock {max(seen['tasks'], default=0):.0f}, "
            f"slowest of {seen['frames']} frames {seen['frame']:.0f}; "
            f"layout shift {shift:.4f}"
        )
        for value, what in seen["shifts"][:5]:
            print(f"    moved {value:.4f}: {what}")
        return max(tasks) < MOST_TASK_MS and shift < MOST_SHIFT


if __name__ == "__main__":
    sys.exit(main())
