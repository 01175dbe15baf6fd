"""The topic grammar: which device a topic names, and what kind of message it carries.

{site}/gateway/{gw}/heartbeat|status
{site}/[gateway/{gw}/]datalogger/{type}/{n}/heartbeat|data|status|output
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from apps.telemetry.facts import DeviceRef

MAX_LEVEL_CHARS = 128  # what the tables hold
REMEMBERED_BYTES = 512  # longer topics are parsed anew: 20,000 of 64 KiB are 1.3 GB

_GATEWAY_KINDS = {"heartbeat", "status"}
_DATALOGGER_KINDS = {"heartbeat", "data", "status", "output"}
_GATEWAY_LEVELS = 3
_DATALOGGER_LEVELS = 4


class Route(NamedTuple):
    """What a topic means: `kind` is heartbeat, data, status or output."""

    kind: str
    device: DeviceRef


class InvalidTopicError(ValueError):
    """The topic is not text that the tables could hold."""


def parse(code: str, topic: bytes) -> Route | None:
    """Return what a topic of the site with this code means, None if nobody claims it.

    Raises:
        InvalidTopicError: not UTF-8, or with NUL (MQTT 3.1.1 §1.5.3, §4.7.3).
    """
    if len(topic) <= REMEMBERED_BYTES:
        return _route_of(code, topic)
    return _route_of.__wrapped__(code, topic)


@lru_cache(maxsize=20_000)
def _route_of(code: str, topic: bytes) -> Route | None:
    try:
        text = topic.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}"
        raise InvalidTopicError(message) from None
    if "\0" in text:
        message = "holds NUL"
        raise InvalidTopicError(message)
    prefix = f"{code}/"
    if not text.startswith(prefix):
        return None
    return _route(text[len(prefix) :].split("/"))


def _route(levels: list[str]) -> Route | None:
    if any(not level or len(level) > MAX_LEVEL_CHARS for level in levels):
        return None
    gateway = None
    if levels[0] == "gateway" and len(levels) >= _GATEWAY_LEVELS:
        gateway = levels[1]
        if len(levels) == _GATEWAY_LEVELS:
            kind = levels[2]
            if kind not in _GATEWAY_KINDS:
                return None
            return Route(kind, DeviceRef(gateway=gateway, type=None, number=gateway))
        levels = levels[2:]
    if len(levels) != _DATALOGGER_LEVELS or levels[0] != "datalogger":
        return None
    _, type_, number, kind = levels
    if kind not in _DATALOGGER_KINDS:
        return None
    return Route(kind, DeviceRef(gateway=gateway, type=type_, number=number))
