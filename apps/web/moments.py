"""Moments as browsers and as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from django.utils import formats
from django.utils.translation import gettext as _


def iso(moment: datetime | None) -> str:
    """Return the moment as browsers read it: ISO 8601, UTC, milliseconds."""
    if moment is None:
        return ""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def moment_text(moment: datetime, zone: str) -> str:
    local = moment.astimezone(ZoneInfo(zone or "UTC"))
    # As `Intl` writes it in the scripts: in Italian a month has a small letter.
    shape = _("j M Y, H:i:s")
    return f"{formats.date_format(local, shape)} {local.tzname()}"
