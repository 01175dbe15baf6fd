"""Whether the system does its work: for probes and monitors, without a login."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from apps.core.redis import RedisError, client
from apps.sites import leases, pulse
from apps.sites.models import Status
from apps.sites.standings import standings


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
    """Return the state as it is now; without the database nothing is healthy.

    What workers report counts as well: with a dead `default` worker nobody writes it
    into the rows. Without Redis the rows alone answer.
    """
    try:
        lease_of = leases.states()
        found = standings(lease_of)
    except Error:
        return Health()
    alive = [
        lease.is_alive
        for lease in lease_of.values()
        if lease.shard < settings.MQTT_SHARDS
    ]
    enabled = [one for one in found if one.is_enabled]
    return Health(
        is_running=any(alive),
        total=len(found),
        enabled=len(enabled),
        healthy=sum(one.status == Status.CONNECTED for one in enabled),
    )


def reconcile_age_s() -> float | None:
    """Return how long ago the reconcile ran; None if nobody knows."""
    try:
        return pulse.age_s()
    except RedisError:
        return None


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
