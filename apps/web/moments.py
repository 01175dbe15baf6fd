"""Moments as browsers and as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from django.utils import formats


def iso(moment: datetime | None) -> str:
    """Return the moment as browsers read it: ISO 8601, UTC, milliseconds."""
    if moment is None:
        return ""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def moment_text(moment: datetime, zone: str) -> str:
    local = moment.astimezone(ZoneInfo(zone or "UTC"))
    return f"{formats.date_format(local, 'j M Y, H:i:s')} {local.tzname()}"
