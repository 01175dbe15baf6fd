"""Payload version 1: `{"ts": …, "values": {"t_ext": 22.5, "door": true}}`.

Or a list of such objects.
"""

from __future__ import annotations

import math
from datetime import tzinfo

from apps.telemetry.facts import Sample
from apps.telemetry.protocols.errors import (
    SchemaMismatchError,
    TooLargeError,
    ValueInvalidError,
)
from apps.telemetry.protocols.times import BadTimeError, device_time_us

MAX_KEY_CHARS = 128
MAX_TEXT_BYTES = 2_000  # a text is part of the readings' index (at most 2,704 bytes)
MAX_SAMPLES = 10_000

_new = tuple.__new__


def samples(body: object, received_us: int, zone: tzinfo) -> list[Sample]:
    """Return the readings of a data message, in its order.

    Numbers and booleans are readings, text is the sensor's text value, null is no
    reading.

    Raises:
        PayloadError: the message does not have this shape, or a value cannot be kept.
    """
    items = body if isinstance(body, list) else [body]
    found: list[Sample] = []
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("values"), dict):
            message = 'expected {"ts": …, "values": {…}} or a list of such objects'
            raise SchemaMismatchError(message)
        try:
            measured_us = device_time_us(item.get("ts"), received_us, zone)
        except BadTimeError as error:
            raise SchemaMismatchError(str(error)) from None
        for key, raw in item["values"].items():
            if raw is not None:
                found.append(_sample(key, raw, measured_us))
        if len(found) > MAX_SAMPLES:
            message = f"over {MAX_SAMPLES} values in one message"
            raise TooLargeError(message)
    return found


def _sample(key: str, raw: object, measured_us: int | None) -> Sample:
    if not key or len(key) > MAX_KEY_CHARS or "\0" in key:
        message = f"sensor key {key[:40]!r}: 1 to {MAX_KEY_CHARS} characters, no NUL"
        raise ValueInvalidError(message)
    if isinstance(raw, (int, float)):  # bool is an int: true is 1
        # `Sample(…)` would take three times as long, and this runs for every value.
        return _new(Sample, (key, _finite(key, raw), None, measured_us))
    if isinstance(raw, str):
        if "\0" in raw or len(raw.encode()) > MAX_TEXT_BYTES:
            message = (
                f"text of {key[:40]!r} holds NUL or is over {MAX_TEXT_BYTES} bytes"
            )
            raise ValueInvalidError(message)
        return Sample(key, None, raw, measured_us)
    message = f"value of {key[:40]!r} is neither a number, a boolean nor text"
    raise SchemaMismatchError(message)


def _finite(key: str, raw: float) -> float:
    try:
        value = float(raw)
    except OverflowError:
        value = math.inf
    if math.isfinite(value):
        return value
    message = f"value of {key[:40]!r} is not a finite number"
    raise ValueInvalidError(message)
