"""Bytes to facts: the one entry to the wire format. Pure; it never raises.

Versions are in a registry; the payload's `v` wins, then the version that the datalogger
is pinned to, then 1.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo

import orjson

from apps.telemetry.facts import (
    Bad,
    DeviceRef,
    Fact,
    Output,
    Sample,
    Samples,
    Unclaimed,
)
from apps.telemetry.protocols import heartbeat, topics, v1
from apps.telemetry.protocols.errors import (
    JsonInvalidError,
    PayloadError,
    UnknownVersionError,
)

MAX_PAYLOAD_BYTES = 1_048_576  # 1 MiB; larger ones are quarantined by size

Decoder = Callable[[object, int, tzinfo], list[Sample]]
DECODERS: dict[int, Decoder] = {1: v1.samples}

PinnedVersion = Callable[[DeviceRef], "int | None"]


def decode(
    code: str,
    topic: bytes,
    payload: bytes,
    *,
    received_us: int,
    zone: tzinfo,
    pinned_version: PinnedVersion,
) -> Fact:
    """Return what a message of the site with this code says.

    Args:
        code: the site's code, the first level of its topics.
        topic: as on the wire.
        payload: as on the wire.
        received_us: our time of receipt, microseconds since 1970.
        zone: the site's time zone.
        pinned_version: the protocol version a datalogger is pinned to, if any.

    Returns:
        A fact; `Bad` with a typed reason for whatever cannot be understood.
    """
    try:
        route = topics.parse(code, topic)
        if route is None:
            return Unclaimed()
        if len(payload) > MAX_PAYLOAD_BYTES:
            return Bad(
                "too_large", f"{len(payload)} bytes, at most {MAX_PAYLOAD_BYTES}"
            )
        kind, device = route
        if kind == "data":
            body = _json(payload)
            decoder = _decoder(body, device, pinned_version)
            return Samples(device, decoder(body, received_us, zone))
        if kind == "heartbeat":
            return heartbeat.heartbeat(device, _json(payload) if payload else None)
        if kind == "status":
            return heartbeat.status(device, _json_or_word(payload))
        return Output(device)
    except topics.InvalidTopicError as error:
        return Bad("topic_invalid", str(error))
    except PayloadError as error:
        return Bad(error.reason, str(error)[:300])


def _decoder(body: object, device: DeviceRef, pinned: PinnedVersion) -> Decoder:
    first = body[0] if isinstance(body, list) and body else body
    version = first.get("v") if isinstance(first, dict) else None
    if version is None:
        version = pinned(device) or 1
    if isinstance(version, int) and version in DECODERS:
        return DECODERS[version]
    # A nested value is not printed: its repr may be deeper than Python goes.
    shown = version if isinstance(version, (int, str)) else type(version).__name__
    msg = f"version {str(shown)[:40]!r} is not known"
    raise UnknownVersionError(msg)


def _json(payload: bytes) -> object:
    """Parse strictly: orjson refuses NaN, Infinity, half surrogates, deep nesting."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise JsonInvalidError(str(error)[:200]) from None


def _json_or_word(payload: bytes) -> object:
    """Return a JSON object or string, or the bare word itself."""
    if payload.lstrip()[:1] in (b"{", b'"'):
        return _json(payload)
    return payload.decode("utf-8", errors="replace")
