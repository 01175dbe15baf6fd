"""Numbers and ages as people read them; `static/web/js/format.js` does the same live.

Both sides must agree, else a page that has just loaded would flicker.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from django.utils import formats
from django.utils.translation import gettext as _

# A sensor of one of these types says yes or no; the store knows 1 and 0 alone.
BOOLEAN_TYPES = frozenset({"bool", "boolean", "binary", "switch", "door", "contact"})

_GROUPED = 1000  # from here on digits are grouped
_HUGE = 1e15  # from here on a float has no fraction, and nobody counts digits
_TINY = 1e-6


def is_boolean(sensor_type: str) -> bool:
    return sensor_type.strip().lower() in BOOLEAN_TYPES


def value_text(value: float | str | None, *, is_yes_or_no: bool = False) -> str:
    """Return a sensor's value in the active language; a dash if there is none yet."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if is_yes_or_no and value in (0, 1):
        return _("yes") if value else _("no")
    return number_text(value)


def number_text(value: float) -> str:
    """Return a number with at most 3 decimals, 6 if it is smaller than 1."""
    size = abs(value)
    if isinstance(value, int) and size < _GROUPED:
        return str(value)  # in all languages, and hundreds of them are on a page
    if not math.isfinite(value):
        return "–"
    if size >= _HUGE or 0 < size < _TINY:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{_trimmed(mantissa)}e{int(exponent)}"
    places = 3 if size >= 1 else 6
    rounded = Decimal(repr(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    plain = _trimmed(f"{rounded:f}")
    plain = "0" if plain == "-0" else plain
    return formats.number_format(plain, use_l10n=True, force_grouping=True)


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def age_strings() -> dict[str, str]:
    """Return the sentences of `age_text`, `%(n)s` standing for the number."""
    return {
        "now": _("just now"),
        "s": _("%(n)s s ago"),
        "min": _("%(n)s min ago"),
        "h": _("%(n)s h ago"),
        "d": _("%(n)s d ago"),
    }


class Ages:
    """How long ago moments were, as of now, in the language that is active now."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._sentences = age_strings()

    def text(self, moment: datetime) -> str:
        """Return the age. Under a minute it counts in tens of seconds."""
        seconds = int((self._now - moment).total_seconds())
        if seconds < 10:  # noqa: PLR2004 (one step; also a clock that runs ahead)
            return self._sentences["now"]
        key, count = _steps(seconds)
        return self._sentences[key].replace("%(n)s", str(count))


def age_text(moment: datetime, *, now: datetime) -> str:
    return Ages(now).text(moment)


def _steps(seconds: int) -> tuple[str, int]:
    minute, hour, day = 60, 3600, 86_400
    if seconds < minute:
        return "s", seconds // 10 * 10
    if seconds < hour:
        return "min", seconds // minute
    if seconds < 2 * day:
        return "h", seconds // hour
    return "d", seconds // day
