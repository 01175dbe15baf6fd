"""Every connection as it is now, for monitoring: cheap, and nobody's point of view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings

from apps.core.shards import shard_of
from apps.sites import reports
from apps.sites.models import MqttConnection
from apps.sites.selectors import by_owner, latest, stats_of, truth_about

if TYPE_CHECKING:
    from apps.sites.leases import LeaseState
    from apps.sites.reports import Report


@dataclass(frozen=True, slots=True)
class Standing:
    """One connection as far as monitoring needs it; `recorded` is the row's status."""

    connection_id: int
    site_id: int
    is_enabled: bool
    status: str
    reason: str
    recorded: str
    status_changed_at: datetime
    last_connected_at: datetime | None
    last_message_at: datetime | None
    in_flight: int = 0  # messages that came in and are not stored yet


def standings(
    lease_of: Mapping[int, LeaseState], *, use_redis: bool = True
) -> list[Standing]:
    """Return every connection as it is now: one query and one Redis read.

    Without Redis, or when told to leave it alone, the rows alone answer.
    """
    rows = list(
        MqttConnection.objects.select_related("stats")
        .only(*_STANDING_COLUMNS)
        .order_by("site_id")
    )
    report_of = reports.load_or_none(row.pk for row in rows) if use_redis else {}
    return [
        _standing_of(
            row,
            lease_of.get(shard_of(row.site_id, settings.MQTT_SHARDS)),
            report_of.get(row.pk),
        )
        for row in rows
    ]


_STANDING_COLUMNS = (
    "site_id",
    "is_enabled",
    "generation",
    "status",
    "reason",
    "error_message",
    "status_changed_at",
    "last_connected_at",
    "report_epoch",
    "report_seq",
    "stats__last_message_at",
)


def _standing_of(
    row: MqttConnection, lease: LeaseState | None, report: Report | None
) -> Standing:
    report = by_owner(lease, report)
    if report and report.generation < row.generation:
        report = None
    truth = truth_about(row, lease, report)
    stats = stats_of(row)
    return Standing(
        connection_id=row.pk,
        site_id=row.site_id,
        is_enabled=row.is_enabled,
        status=truth.status,
        reason=truth.reason,
        recorded=row.status,
        status_changed_at=row.status_changed_at,
        last_connected_at=latest(
            row.last_connected_at, report.connected_at if report else None
        ),
        last_message_at=latest(
            stats.last_message_at if stats else None,
            report.last_message_at if report else None,
        ),
        in_flight=report.counters.get("in_flight", 0) if report else 0,
    )
