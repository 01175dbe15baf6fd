"""Starts a real MQTT worker with something wrong in it: `python -m tests.sabotage W`.

W is one of `WAYS` below, or several with commas; the rest are Celery's arguments. The
waits of watchdogs and leases can be made short, so that tests need not wait for long.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import django
from celery.__main__ import main

import workers.celery  # noqa: F401 (names the settings)

LOOKS, LOOK_S = 40, 0.2  # 8 s: even on a busy machine each healthy thread has turned


def _hang(*_: Any) -> NoReturn:
    while True:
        threading.Event().wait(60)


def _die(*_: Any) -> NoReturn:
    message = "sabotage"
    raise RuntimeError(message)


def quick_watchdogs() -> None:
    from workers import echo, reporter, watchdog

    watchdog.LOOK_EVERY_S = LOOK_S
    watchdog.STUCK_AFTER = LOOKS
    echo.DEAF_AFTER = 20
    reporter.ECHO_EVERY_S = 0.5


def short_leases() -> None:
    """Half of the real ones, with the same proportions."""
    from apps.sites import leases
    from workers import lease

    leases.LEASE_TTL_S = 8
    leases.RENEW_EVERY_S = 2
    lease.LOOK_WITHIN_S = 4.0


def stranger() -> None:
    """Judge every other process as one of another machine."""
    from workers import identity

    identity.is_gone = lambda owner: False


def no_sites() -> None:
    from workers import runtime

    runtime.load_enabled = lambda shards: []


def deaf() -> None:
    """Say that commands are taken, and take none."""
    from workers import bootstep

    bootstep._consume = lambda worker, shard: True


def _in_place_of(module: str, name: str, method: str, what: Any) -> Callable[[], None]:
    def spoil() -> None:
        __import__(module)
        setattr(getattr(sys.modules[module], name), method, what)

    return spoil


def nothing() -> None:
    """Change nothing."""


WAYS: dict[str, Callable[[], None]] = {
    "nothing": nothing,
    "quick-watchdogs": quick_watchdogs,
    "short-leases": short_leases,
    "stranger": stranger,
    "no-sites": no_sites,
    "deaf": deaf,
    **{
        f"{thread}-{fate}": _in_place_of(module, name, method, what)
        for thread, module, name, method in (
            ("mqtt-writer", "workers.writer", "Writer", "_drain"),
            ("mqtt-leases", "workers.lease", "LeaseKeeper", "turn"),
            ("mqtt-network", "workers.supervisor", "Supervisor", "_read_mail"),
            ("mqtt-reporter", "workers.reporter", "Reporter", "_say_all"),
        )
        for fate, what in (("stuck", _hang), ("dead", _die))
    },
}


def run() -> None:
    ways, arguments = sys.argv[1].split(","), sys.argv[2:]
    django.setup()  # else our modules cannot be imported yet
    for way in ways:
        WAYS[way]()
    sys.argv = ["celery", "-A", "workers", *arguments]
    main()


if __name__ == "__main__":
    run()
