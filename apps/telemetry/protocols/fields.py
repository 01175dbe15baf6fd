"""What devices say of themselves and their sensors: bounded texts, finite numbers."""

from __future__ import annotations

import math

from apps.telemetry.protocols.errors import SchemaMismatchError

MAX_SERIAL_CHARS = 100


def text(body: dict[str, object], name: str, max_chars: int) -> str | None:
    """Return a text, None where nothing is said; a whole number is a text too.

    Raises:
        SchemaMismatchError: neither, too long, or with NUL.
    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # serial numbers are often written as numbers
    if not isinstance(value, str) or "\0" in value or len(value) > max_chars:
        message = f"{name} is not a text of at most {max_chars} characters"
        raise SchemaMismatchError(message)
    return value


def number(body: dict[str, object], name: str) -> float | None:
    """Return a finite number, None where nothing is said.

    Raises:
        SchemaMismatchError: anything else.
    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            return found
    message = f"{name} is not a finite number"
    raise SchemaMismatchError(message)
