"""Whether the system does its work: for probes and monitors, without a login."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from apps.core.redis import RedisError, client
from apps.core.shards import shard_of
from apps.sites import leases
from apps.sites.models import MqttConnection, Status
from apps.sites.selectors import truth_about


@dataclass(frozen=True, slots=True)
class Health:
    """`is_running`: a worker holds a lease. `healthy` counts enabled connections."""

    is_running: bool = False
    total: int = 0
    enabled: int = 0
    healthy: int = 0

    @property
    def is_healthy(self) -> bool:
        return self.is_running and self.healthy == self.enabled


def health() -> Health:
    """Return the state as PostgreSQL alone knows it; without it nothing is healthy."""
    try:
        lease_of = leases.states()
        rows = list(
            MqttConnection.objects.only(
                "site_id",
                "is_enabled",
                "status",
                "reason",
                "error_message",
                "report_epoch",
            ).order_by()
        )
    except Error:
        return Health()
    enabled = [row for row in rows if row.is_enabled]
    return Health(
        is_running=any(lease.is_alive for lease in lease_of.values()),
        total=len(rows),
        enabled=len(enabled),
        healthy=sum(
            truth_about(
                row, lease_of.get(shard_of(row.site_id, settings.MQTT_SHARDS))
            ).status
            == Status.CONNECTED
            for row in enabled
        ),
    )


def readiness() -> dict[str, bool]:
    """Return which parts a request needs answer now."""
    database, migrations = _database()
    return {"database": database, "migrations": migrations, "redis": _redis()}


def _database() -> tuple[bool, bool]:
    """Return whether PostgreSQL answers, and whether its schema is the code's."""
    try:
        applied = MigrationRecorder(connection).applied_migrations()
    except Error:
        return False, False
    return True, _last_migrations() <= set(applied)


@cache
def _last_migrations() -> frozenset[tuple[str, str]]:
    """Return the newest migration of each app; read from disk once per process."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _redis() -> bool:
    try:
        return bool(client().ping())
    except RedisError:
        return False
