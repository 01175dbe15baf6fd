"""What a browser's developer tools tell: what a page received, what held it up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def received(page: Page) -> list[tuple[str, int]]:
    """Return a list that fills with (type, bytes on the wire) of what has ended."""
    sizes: list[tuple[str, int]] = []
    kinds: dict[str, str] = {}
    session = page.context.new_cdp_session(page)
    session.on(
        "Network.responseReceived",
        lambda event: kinds.update({event["requestId"]: event["type"]}),
    )
    session.on(
        "Network.loadingFinished",
        lambda event: sizes.append(
            (kinds.get(event["requestId"], "?"), event["encodedDataLength"])
        ),
    )
    session.send("Network.enable")
    return sizes


def tasks_ms(trace: bytes) -> list[float]:
    """Return the CPU time of each task of the page's main thread.

    By the clock a task also waits for the other processes of a busy machine.

    Args:
        trace: what `stop_tracing` gave for the category `toplevel`.
    """
    events = json.loads(trace)["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event.get("tdur", 0) / 1e3
        for event in events
        if event["name"] == "ThreadControllerImpl::RunTask"
        and (event["pid"], event["tid"]) in mains
    ]
