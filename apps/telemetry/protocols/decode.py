"""Bytes to facts: the one entry to the wire format. Pure; it never raises.

A site's mappings of topics come first. Then the topic says what a message is, and for
data the version which decoder reads it: the payload's `v`, else the version that the
datalogger is pinned to, else 1. A version without a decoder may have a mapping.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo

from apps.telemetry.facts import Bad, DeviceRef, Fact, Output, Samples, Unclaimed
from apps.telemetry.protocols import heartbeat, mapped, topics, v1, v2
from apps.telemetry.protocols.errors import (
    PayloadError,
    SchemaMismatchError,
    TooLargeError,
    UnknownVersionError,
)
from apps.telemetry.protocols.mapped import NO_RULES, SiteRules
from apps.telemetry.protocols.payloads import (
    json_or_scalar,
    json_or_word,
    strict_json,
)

MAX_PAYLOAD_BYTES = 1_048_576  # 1 MiB; larger ones are quarantined by size

NATIVE = "native"  # the protocol of CONTRACT §5 and §6

# (device, parsed payload, time of receipt in microseconds, the site's zone)
Decoder = Callable[[DeviceRef, object, int, tzinfo], Samples]
DECODERS: dict[tuple[str, int], Decoder] = {
    (NATIVE, 1): v1.samples,
    (NATIVE, 2): v2.samples,
}


def decode(
    code: str,
    topic: bytes,
    payload: bytes,
    *,
    received_us: int,
    zone: tzinfo,
    rules: SiteRules = NO_RULES,
) -> Fact:
    """Return what a message of the site with this code says.

    Args:
        code: the site's code, the first level of its topics.
        topic: as on the wire.
        payload: as on the wire.
        received_us: our time of receipt, microseconds since 1970.
        zone: the site's time zone.
        rules: the site's pinned versions and mappings.

    Returns:
        A fact; `Bad` with a typed reason for whatever cannot be understood.
    """
    try:
        mapping = rules.by_topic.get(topic) if rules.by_topic else None
        if mapping is not None:
            device = mapping.device or _named(code, topic)
            body = json_or_scalar(_bounded(payload))
            return mapped.samples(mapping, device, body, received_us, zone)
        route = topics.parse(code, topic)
        if route is None:
            return Unclaimed()
        if route.kind == "data":
            return _data(route.device, _bounded(payload), received_us, zone, rules)
        return _other(route, _bounded(payload))
    except topics.InvalidTopicError as error:
        return Bad("topic_invalid", str(error))
    except PayloadError as error:
        return Bad(error.reason, str(error)[:300])


def _data(
    device: DeviceRef, payload: bytes, received_us: int, zone: tzinfo, rules: SiteRules
) -> Samples:
    body = strict_json(payload)
    version = _version(body, device, rules)
    decoder = DECODERS.get((NATIVE, version))
    if decoder is not None:
        return decoder(device, body, received_us, zone)
    if version in rules.by_version:
        mapping = rules.by_version[version]
        return mapped.samples(mapping, device, body, received_us, zone)
    raise UnknownVersionError(_unknown(version))


def _other(route: topics.Route, payload: bytes) -> Fact:
    kind, device = route
    if kind == "heartbeat":
        return heartbeat.heartbeat(device, strict_json(payload) if payload else None)
    if kind == "status":
        return heartbeat.status(device, json_or_word(payload))
    return Output(device)


def datalogger_of(code: str, topic: bytes) -> DeviceRef | None:
    """Return the datalogger that a topic itself names, None if it names none.

    Raises:
        InvalidTopicError: the topic is no text.
    """
    route = topics.parse(code, topic)
    return None if route is None or route.device.is_gateway else route.device


def version_of(
    code: str, topic: bytes, payload: bytes, *, rules: SiteRules = NO_RULES
) -> int | None:
    """Return the version of a data message, known or not; None if it has no number."""
    try:
        route = topics.parse(code, topic)
        if route is None or route.kind != "data":
            return None
        return _version(strict_json(_bounded(payload)), route.device, rules)
    except (topics.InvalidTopicError, PayloadError):
        return None


def _named(code: str, topic: bytes) -> DeviceRef:
    device = datalogger_of(code, topic)
    if device is None:  # the site's code was changed since
        message = "neither the mapping nor the topic names a datalogger"
        raise SchemaMismatchError(message)
    return device


def _bounded(payload: bytes) -> bytes:
    if len(payload) <= MAX_PAYLOAD_BYTES:
        return payload
    message = f"{len(payload)} bytes, at most {MAX_PAYLOAD_BYTES}"
    raise TooLargeError(message)


def _version(body: object, device: DeviceRef, rules: SiteRules) -> int:
    first = body[0] if isinstance(body, list) and body else body
    version = first.get("v") if isinstance(first, dict) else None
    if version is None:
        pins = rules.pins
        return (pins.get((device.type or "", device.number)) or 1) if pins else 1
    if type(version) is int:  # true is no version
        return version
    # A nested value is not printed: its repr may be deeper than Python goes.
    shown = version if isinstance(version, (int, str)) else type(version).__name__
    raise UnknownVersionError(_unknown(shown))


def _unknown(version: object) -> str:
    return f"version {str(version)[:40]!r} is not known"
