"""The whole system at one glance, for an operator's first look and for monitors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from apps.core import vitals
from apps.core.parsing import iso_z
from apps.core.redis import RedisError
from apps.core.shards import shard_of
from apps.sites import pulse
from apps.sites.models import Site, Status
from apps.sites.selectors import ConnectionStatus, connection_statuses

HEALTHY, UNHEALTHY, UNKNOWN = 0, 1, 2  # exit codes
GAP_IS_NEWS = timedelta(days=1)

_LEASES = """
SELECT shard, owner, epoch, expires_at > clock_timestamp(),
    extract(epoch FROM clock_timestamp() - acquired_at)::float8
FROM sites_shardlease ORDER BY shard
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who owns a shard, and for how many seconds already."""

    shard: int
    owner: str
    epoch: int
    is_alive: bool
    age_s: float


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that said in the last hour that it lives, and what it last said."""

    node: str
    shards: tuple[int, ...]
    is_alive: bool
    inbox: int | None
    spooled: int | None = None  # acknowledged, and on its disk
    spool_oldest_s: float = 0.0
    is_spool_full: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """`workers` is None while Redis is away; `warnings` are for people to read."""

    connections: tuple[ConnectionStatus, ...]
    leases: tuple[Lease, ...]
    workers: tuple[Worker, ...] | None
    reconcile_age_s: float | None
    troubles: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return UNHEALTHY if self.troubles else HEALTHY

    def as_json(self) -> dict[str, Any]:
        return {
            "healthy": not self.troubles,
            "troubles": list(self.troubles),
            "warnings": list(self.warnings),
            "connections": [_connection_json(one) for one in self.connections],
            "workers": None
            if self.workers is None
            else [
                {
                    "node": one.node,
                    "shards": list(one.shards),
                    "alive": one.is_alive,
                    "inbox": one.inbox,
                    "spooled": one.spooled,
                }
                for one in self.workers
            ],
            "leases": [
                {
                    "shard": one.shard,
                    "owner": one.owner,
                    "epoch": one.epoch,
                    "alive": one.is_alive,
                    "age_seconds": round(one.age_s, 1),
                }
                for one in self.leases
            ],
            "reconcile_age_seconds": self.reconcile_age_s
            and round(self.reconcile_age_s, 1),
        }


def overview(site: Site | None = None) -> Overview:
    """Look at everything, or at one site and its shard; raises database errors."""
    everyone = User(username="monitoring", is_superuser=True)  # never stored
    found = connection_statuses(everyone, None if site is None else [site.pk])
    shards = set(range(settings.MQTT_SHARDS))
    if site is not None:
        shards = {shard_of(site.pk, settings.MQTT_SHARDS)}
    held = _leases(shards)
    workers = _workers()
    age, warnings = _pulse()
    if workers is None:
        warnings = ["Redis is away: workers are unknown, the rest is the database's"]
    warnings += on_disk(workers or ())
    warnings += doubts(found, timezone.now())
    return Overview(
        connections=tuple(found),
        leases=tuple(held),
        workers=workers,
        reconcile_age_s=age,
        troubles=tuple(troubles(found, held)),
        warnings=tuple(warnings),
    )


def troubles(found: list[ConnectionStatus], held: list[Lease]) -> list[str]:
    """Return what makes the system unhealthy, a line each. Pure."""
    lines = [
        f"no worker serves shard {lease.shard}" for lease in held if not lease.is_alive
    ]
    for one in found:
        if one.is_enabled and one.status != Status.CONNECTED:
            reason = f" ({one.reason})" if one.reason else ""
            lines.append(f"{one.site_code} is not connected: {one.status}{reason}")
    return lines


def doubts(found: list[ConnectionStatus], now: datetime) -> list[str]:
    """Return what people should know of messages, a line each. Pure."""
    lines = []
    for one in found:
        gap, unexplained = one.last_gap, one.counters.get("unexplained", 0)
        if unexplained:
            lines.append(f"{one.site_code}: {unexplained:,} messages are unexplained")
        if gap is not None and now - gap.ended_at < GAP_IS_NEWS:
            detail = f" ({gap.detail})" if gap.detail else ""
            lines.append(
                f"{one.site_code} may miss messages from {iso_z(gap.began_at)} to "
                f"{iso_z(gap.ended_at)}: {gap.cause}{detail}"
            )
    return lines


def on_disk(workers: Iterable[Worker]) -> list[str]:
    """Return whose messages wait on a disk for PostgreSQL, a line each. Pure."""
    lines = []
    for one in workers:
        if one.spooled:
            lines.append(
                f"{one.node} keeps {one.spooled:,} messages on its disk since "
                f"{one.spool_oldest_s:.0f} s: PostgreSQL does not take them, or did not"
            )
        if one.is_spool_full:
            lines.append(
                f"{one.node} has no room for messages on its disk: it acknowledges "
                "none that PostgreSQL does not take"
            )
    return lines


def _leases(shards: set[int]) -> list[Lease]:
    with connection.cursor() as cursor:
        cursor.execute(_LEASES)
        known = {row[0]: Lease(*row) for row in cursor.fetchall()}
    nobody = (Lease(shard, "", 0, False, 0.0) for shard in shards)
    found = {lease.shard: lease for lease in nobody} | {
        shard: lease for shard, lease in known.items() if shard in shards
    }
    return [found[shard] for shard in sorted(found)]


def _workers() -> tuple[Worker, ...] | None:
    try:
        known = vitals.load()
    except RedisError:
        return None
    return tuple(
        Worker(
            node=one.node,
            shards=tuple(sorted(int(shard) for shard in one.said.get("shards", ()))),
            is_alive=one.is_alive,
            inbox=one.said.get("inbox_messages"),
            spooled=spool.get("messages"),
            spool_oldest_s=float(spool.get("oldest_s", 0.0)),
            is_spool_full=bool(spool.get("full")),
        )
        for one in known
        if one.kind == vitals.WORKER
        for spool in [one.said.get("spool", {})]
    )


def _pulse() -> tuple[float | None, list[str]]:
    try:
        age = pulse.age_s()
    except RedisError:
        return None, []
    if not pulse.is_late(age):
        return age, []
    since = "it never ran" if age is None else f"it ran {age:.0f} s ago"
    return age, [f"the reconcile is late, {since}: is beat running, and default?"]


def _connection_json(one: ConnectionStatus) -> dict[str, Any]:
    times = {
        name: iso_z(moment) if moment else None
        for name in ("status_changed_at", "next_retry_at", "last_message_at")
        for moment in [getattr(one, name)]
    }
    gap = one.last_gap
    return {
        "site_id": one.site_id,
        "site": one.site_name,
        "code": one.site_code,
        "connection_id": one.connection_id,
        "is_enabled": one.is_enabled,
        "status": one.status,
        "reason": one.reason,
        "error_message": one.error_message,
        "shard": one.shard,
        "owner": one.owner,
        "retry_count": one.retry_count,
        **times,
        "counters": one.counters,
        "last_gap": None
        if gap is None
        else {
            "began_at": iso_z(gap.began_at),
            "ended_at": iso_z(gap.ended_at),
            "cause": gap.cause,
            "detail": gap.detail,
        },
    }
