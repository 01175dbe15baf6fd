"""One value of one sensor, the same in every payload version."""

from __future__ import annotations

import math

from apps.telemetry.facts import Sample
from apps.telemetry.protocols.errors import SchemaMismatchError, ValueInvalidError

MAX_KEY_CHARS = 128
MAX_TEXT_BYTES = 2_000  # a text is part of the readings' index (at most 2,704 bytes)
MAX_SAMPLES = 10_000  # of one message

_new = tuple.__new__


def sample(key: str, raw: object, measured_us: int | None) -> Sample:
    """Return the reading: numbers and booleans are numbers, text is text.

    Raises:
        PayloadError: the key or the value cannot be kept.
    """
    if not key or len(key) > MAX_KEY_CHARS or "\0" in key:
        check_key(key)
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


def check_key(key: str) -> None:
    """Raise ValueInvalidError unless a sensor may have this key."""
    if not key or len(key) > MAX_KEY_CHARS or "\0" in key:
        message = f"sensor key {key[:40]!r}: 1 to {MAX_KEY_CHARS} characters, no NUL"
        raise ValueInvalidError(message)


def _finite(key: str, raw: float) -> float:
    try:
        value = float(raw)
    except OverflowError:
        value = math.inf
    if math.isfinite(value):
        return value
    message = f"value of {key[:40]!r} is not a finite number"
    raise ValueInvalidError(message)
