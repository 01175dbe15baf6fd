"""A web process says how many listen to it."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

from apps.core import sse, vitals
from apps.core.redis import RedisError

log = logging.getLogger(__name__)


def start() -> threading.Event:
    """Say it every few seconds on a thread of its own; set what is returned to end."""
    stop = threading.Event()
    threading.Thread(
        target=_say_until, args=(stop,), name="web-vitals", daemon=True
    ).start()
    return stop


def _say_until(stop: threading.Event) -> None:
    node = f"web{os.getpid()}@{socket.gethostname()}"
    while True:
        _try(
            lambda: vitals.say(
                vitals.WEB, node, {"sse_clients": len(sse.manager().streams)}
            )
        )
        if stop.wait(vitals.SAY_EVERY_S):
            break
    _try(lambda: vitals.forget(vitals.WEB, node))


def _try(call: Callable[[], object]) -> None:
    try:
        call()
    except RedisError:
        log.debug("vitals not said: Redis is away")  # each scrape says so too
    except Exception:  # a thread's border: it must not end for one failure
        log.exception("vitals not said")
