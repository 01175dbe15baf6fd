"""Devices as batches left them, at times that a test chooses."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from apps.devices.models import Datalogger, Gateway, Presence
from apps.devices.presence import write_periods
from apps.sites.models import Site


def ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


def _heard(at: datetime, interval: int | None, override: int | None) -> dict[str, Any]:
    silence_s = override or 1.5 * (interval or 60)
    return {
        "presence": Presence.ONLINE,
        "presence_since": at,
        "last_seen_at": at,
        "interval_s": interval,
        "offline_after_s": override,
        "offline_after": at + timedelta(seconds=silence_s),
    }


def heard(
    site: Site,
    at: datetime,
    *,
    interval: int | None = 60,
    override: int | None = None,
    number: str = "15",
    gateway: Gateway | None = None,
) -> Datalogger:
    """Return a datalogger that was heard once, at this time."""
    datalogger = Datalogger.objects.create(
        site=site,
        type="monstro",
        number=number,
        gateway=gateway,
        **_heard(at, interval, override),
    )
    write_periods([datalogger.pk])
    return datalogger


def heard_gateway(
    site: Site, at: datetime, *, interval: int | None = 60, number: str = "gw7"
) -> Gateway:
    return Gateway.objects.create(
        site=site, number=number, **_heard(at, interval, None)
    )


def told(device: Datalogger | Gateway) -> tuple[str, str]:
    """Return presence and cause of the row as it is now."""
    device.refresh_from_db()
    return device.presence, device.offline_cause


def periods_of(datalogger: Datalogger) -> list[tuple[str, str]]:
    """Return (presence, cause) of its periods, which tile its time and fit its row."""
    periods = list(datalogger.periods.order_by("id"))
    for earlier, later in itertools.pairwise(periods):
        assert earlier.ended_at == later.started_at
        assert earlier.presence != later.presence
        assert earlier.ended_at >= earlier.started_at
    datalogger.refresh_from_db()
    assert periods[-1].ended_at is None
    assert periods[-1].started_at == datalogger.presence_since
    assert periods[-1].presence == datalogger.presence
    return [(period.presence, period.cause) for period in periods]
