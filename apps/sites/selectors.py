"""What people may know about sites and connections, as it is at this moment.

A row says what was recorded last; `connection_statuses` says what is true now, since a
dead worker records nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import Http404

from apps.core.shards import shard_of
from apps.sites import leases, reports
from apps.sites.models import (
    ConnectionStats,
    MemberRole,
    MqttConnection,
    Reason,
    Site,
    SiteMember,
    Status,
    SuspectedGap,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from django.db.models import QuerySet

    from apps.sites.leases import LeaseState
    from apps.sites.reports import Report

    Person = AbstractBaseUser | AnonymousUser

COUNTERS = ("received", "stored", "duplicate", "quarantined", "dropped")


@dataclass(frozen=True, slots=True)
class Truth:
    """A connection's status as far as somebody alive vouches for it."""

    status: str
    reason: str
    error_message: str


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One connection as it is now: the row, the lease and the owner's last report.

    Times are aware UTC. `owner` is the worker that holds the shard, empty if none
    does. `session_present`: at the last connect the broker still had our session, so
    nothing was missed. `can_control`: this user may start and stop it. `per_minute`:
    messages of the last whole minutes, the newest last, as far as the owner knows.
    `last_gap`: when messages may have been missed last.
    """

    connection_id: int
    site_id: int
    site_name: str
    site_code: str
    is_enabled: bool
    status: str
    reason: str
    error_message: str
    status_changed_at: datetime
    broker_host: str
    broker_port: int
    last_connected_at: datetime | None
    last_heartbeat_at: datetime | None
    last_message_at: datetime | None
    connection_errors: int
    handler_running: bool
    handler_connected: bool
    retry_count: int
    next_retry_at: datetime | None
    topics_list: tuple[str, ...]
    session_present: bool | None
    shard: int
    owner: str
    counters: dict[str, int]
    can_control: bool
    per_minute: tuple[int, ...] = ()
    last_gap: SuspectedGap | None = None
    lowered_topics: tuple[str, ...] = ()

    @property
    def subscribed_topics(self) -> int:
        return len(self.topics_list)


def visible_site(user: Person, site_id: int) -> Site:
    """Return the site; raises `Http404` if this user may not know that it exists."""
    site = Site.objects.visible_to(user).filter(pk=site_id).first()
    if site is None:
        raise Http404
    return site


def may_control(user: Person, site: Site) -> bool:
    """Return whether this user may start and stop the site's connection."""
    if getattr(user, "is_superuser", False):
        return True
    return _operator_roles(user).filter(site=site).exists()


def _operator_roles(user: Person) -> QuerySet[SiteMember]:
    if user.pk is None:
        return SiteMember.objects.none()
    return SiteMember.objects.filter(user_id=user.pk, role=MemberRole.OPERATOR)


def visible_connections(
    user: Person, site_ids: Iterable[int] | None = None
) -> QuerySet[MqttConnection]:
    """Return the connections of the sites this user may read, in the order of names."""
    rows = MqttConnection.objects.filter(site__in=Site.objects.visible_to(user))
    if site_ids is not None:
        rows = rows.filter(site_id__in=list(site_ids))
    rows = rows.select_related("site", "stats").defer("stats__recent")
    return rows.order_by("site__name", "site_id")


def visible_connection(user: Person, connection_id: int) -> MqttConnection:
    """Return the connection; raises `Http404` if this user may not know of it."""
    row = visible_connections(user).filter(pk=connection_id).first()
    if row is None:
        raise Http404
    return row


def connection_statuses(
    user: Person, site_ids: Iterable[int] | None = None
) -> list[ConnectionStatus]:
    """Return the connections this user may see, as they are now.

    Four queries and one Redis read, however many connections there are; without
    Redis the rows alone answer.
    """
    return statuses_of(user, list(visible_connections(user, site_ids)))


def statuses_of(user: Person, rows: Sequence[MqttConnection]) -> list[ConnectionStatus]:
    """Return the present state of rows from `visible_connections`, in their order."""
    lease_of = leases.states()
    report_of = reports.load_or_none(row.pk for row in rows)
    controlled = _controlled_sites(user)
    gap_of = _last_gaps(rows)
    return [
        _status_of(
            row,
            lease_of.get(shard_of(row.site_id, settings.MQTT_SHARDS)),
            report_of.get(row.pk),
            gap_of.get(row.pk),
            can_control=controlled is None or row.site_id in controlled,
        )
        for row in rows
    ]


def _last_gaps(rows: Sequence[MqttConnection]) -> dict[int, SuspectedGap]:
    found = SuspectedGap.objects.filter(connection__in=[row.pk for row in rows])
    latest_first = found.order_by("connection_id", "-ended_at").distinct(
        "connection_id"
    )
    return {gap.connection_id: gap for gap in latest_first}


def _controlled_sites(user: Person) -> set[int] | None:
    """Return the sites whose operator this user is; None means all of them."""
    if getattr(user, "is_superuser", False):
        return None
    return set(_operator_roles(user).values_list("site_id", flat=True))


def truth_about(
    row: MqttConnection, lease: LeaseState | None, report: Report | None = None
) -> Truth:
    """Return the status that somebody alive vouches for.

    Pure. The row may be older than the world: its worker died, another one took the
    shard and has not spoken yet, or the report is not recorded yet.
    """
    alive = lease is not None and lease.is_alive
    if row.is_enabled and not alive:
        return Truth(Status.ERROR, Reason.WORKER_LOST, "")
    if report and (report.epoch, report.seq) > (row.report_epoch, row.report_seq):
        return Truth(report.status, report.reason, report.detail)
    if lease and row.status == Status.CONNECTED and row.report_epoch < lease.epoch:
        return Truth(Status.CONNECTING, Reason.NONE, "")
    return Truth(row.status, row.reason, row.error_message)


def by_owner(lease: LeaseState | None, report: Report | None) -> Report | None:
    """Return the report unless somebody made it who no longer owns the shard."""
    if not lease or not lease.is_alive or (report and report.epoch != lease.epoch):
        return None
    return report


def _status_of(
    row: MqttConnection,
    lease: LeaseState | None,
    report: Report | None,
    gap: SuspectedGap | None,
    *,
    can_control: bool,
) -> ConnectionStatus:
    owner = lease.owner if lease and lease.is_alive else ""
    report = by_owner(lease, report)
    held = _is_held(row, lease, report)
    if report and report.generation < row.generation:
        report = None  # said about older settings
    truth = truth_about(row, lease, report)
    connected = truth.status == Status.CONNECTED
    stats = stats_of(row)
    topics = report.topics if report else tuple(row.subscribed_topics)
    return ConnectionStatus(
        connection_id=row.pk,
        site_id=row.site_id,
        site_name=row.site.name,
        site_code=row.site.code,
        is_enabled=row.is_enabled,
        status=truth.status,
        reason=truth.reason,
        error_message=truth.error_message,
        status_changed_at=row.status_changed_at,
        broker_host=row.broker_host,
        broker_port=row.broker_port,
        last_connected_at=latest(
            row.last_connected_at, report.connected_at if report else None
        ),
        last_heartbeat_at=latest(row.last_heartbeat_at, report.at if report else None),
        last_message_at=latest(
            stats.last_message_at if stats else None,
            report.last_message_at if report else None,
        ),
        connection_errors=report.errors if report else row.connection_errors,
        handler_running=held,
        handler_connected=connected,
        retry_count=report.retry_count if report else row.mqtt_retry_count,
        next_retry_at=_next_retry(row, report) if held and row.is_enabled else None,
        topics_list=topics if connected else (),
        session_present=report.session_present if report and connected else None,
        shard=shard_of(row.site_id, settings.MQTT_SHARDS),
        owner=owner,
        counters=_counters(stats, report),
        can_control=can_control,
        per_minute=report.per_minute if report else (),
        last_gap=gap,
        lowered_topics=report.lowered_topics if report and connected else (),
    )


def _is_held(
    row: MqttConnection, lease: LeaseState | None, report: Report | None
) -> bool:
    """Return whether the shard's present owner works on this connection."""
    if not lease or not lease.is_alive:
        return False
    if report:
        return report.status != Status.DISCONNECTED
    return row.report_epoch == lease.epoch and row.status != Status.DISCONNECTED


def _next_retry(row: MqttConnection, report: Report | None) -> datetime | None:
    return report.next_retry_at if report else row.mqtt_next_retry


def stats_of(row: MqttConnection) -> ConnectionStats | None:
    return getattr(row, "stats", None)


def _counters(stats: ConnectionStats | None, report: Report | None) -> dict[str, int]:
    """Return what came and what became of it, with what only the worker knows.

    received = stored + duplicate + quarantined + dropped + in_flight + unexplained, and
    the last is 0 unless there is a fault of ours. The rows know nothing of what is in
    flight, so it is added to what they have counted.
    """
    known = dict(report.counters) if report else {}
    counted = {name: getattr(stats, name, 0) for name in COUNTERS}
    became = sum(counted[name] for name in COUNTERS if name != "received")
    unexplained = counted["received"] - became
    counted["received"] += known.get("in_flight", 0)
    return known | counted | {"unexplained": unexplained}


def latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment), default=None)
