"""A web process says how many listen to it."""

from __future__ import annotations

import logging
import os
import socket
import threading

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
        try:
            vitals.say(vitals.WEB, node, {"sse_clients": len(sse.manager().streams)})
        except RedisError:
            log.debug("vitals not said: Redis is away")  # each scrape says so too
        if stop.wait(vitals.SAY_EVERY_S):
            break
    try:
        vitals.forget(vitals.WEB, node)
    except RedisError:
        log.debug("vitals not taken back: Redis is away")
