"""Device times: seconds to nanoseconds since 1970, or ISO 8601."""

from __future__ import annotations

import math
from datetime import datetime, tzinfo

US = 1_000_000
YEAR_2000_S = 946_684_800
YEAR_2000_US = YEAR_2000_S * US
MAX_S = 1e11  # larger numbers are in finer units
DAY_US = 86_400 * US

# Units told apart by size: since 2000, seconds have 9 to 10 digits, milliseconds 12 to
# 13, microseconds 15 to 16, nanoseconds 18 to 19.
_SCALES = ((MAX_S, US), (1e14, 1_000), (1e17, 1))


class BadTimeError(ValueError):
    """The device's time is not a time at all."""


def device_time_us(ts: object, received_us: int, zone: tzinfo) -> int | None:
    """Return the device's time in microseconds since 1970.

    Args:
        ts: the payload's `ts`, None where there is none.
        received_us: our time of receipt.
        zone: the site's, for ISO times that name none.

    Returns:
        None where the time is missing, before 2000 or over 24 h ahead of the receipt:
        then the time of receipt is used and the reading flagged (CONTRACT §6).

    Raises:
        BadTimeError: neither a number nor ISO 8601.
    """
    if type(ts) is float and YEAR_2000_S <= ts < MAX_S:  # the usual: seconds
        us = int(ts * US + 0.5)
        return us if us <= received_us + DAY_US else None
    if ts is None:
        return None
    if isinstance(ts, str):
        us = _from_iso(ts, zone)
    elif isinstance(ts, (int, float)) and not isinstance(ts, bool):
        us = _from_number(ts)
    else:
        message = f"ts is {type(ts).__name__}; use a number or ISO 8601"
        raise BadTimeError(message)
    return us if YEAR_2000_US <= us <= received_us + DAY_US else None


def _from_number(ts: float) -> int:
    if not math.isfinite(ts):
        message = "ts is not finite"
        raise BadTimeError(message)
    for limit, factor in _SCALES:
        if abs(ts) < limit:
            return round(ts * factor)
    return int(ts) // 1_000


def _from_iso(ts: str, zone: tzinfo) -> int:
    try:
        moment = datetime.fromisoformat(ts.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        # timestamp() is a float with 0.2 µs steps at this size: exact to the µs.
        return round(moment.timestamp() * US)
    except (ValueError, OverflowError):
        message = f"ts {ts[:40]!r} is not ISO 8601"
        raise BadTimeError(message) from None
