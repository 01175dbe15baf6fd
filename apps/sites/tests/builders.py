"""Connections in the states that tests need, made the way workers make them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils import timezone

from apps.core.shards import shard_of
from apps.sites import leases
from apps.sites.models import MqttConnection, Site, Status
from apps.sites.recording import record
from apps.sites.reports import Report
from apps.sites.services import connection_configure, connection_of, connection_start

WORKER = "mqtt@here"


def configured(site: Site, *, host: str = "broker.example.com") -> MqttConnection:
    return connection_configure(connection_of(site), fields={"broker_host": host})


def own_shard(site: Site, *, ttl_s: float = 60) -> int:
    """Take the site's shard, unless it is taken; return the epoch."""
    shard = shard_of(site.pk, settings.MQTT_SHARDS)
    epoch = leases.take(shard, WORKER, ttl_s=ttl_s)
    return epoch if epoch is not None else leases.states()[shard].epoch


def report_on(row: MqttConnection, **fields: object) -> Report:
    """Return what the owner of the shard would say now."""
    shard = shard_of(row.site_id, settings.MQTT_SHARDS)
    row.refresh_from_db()
    said: dict[str, Any] = {
        "status": Status.CONNECTED,
        "reason": "",
        "detail": "",
        "at": timezone.now(),
        "epoch": own_shard(row.site),
        "generation": row.generation,
        "seq": row.report_seq + 1,
        "owner": WORKER,
        "topics": (f"{row.site.code}/gateway/+/heartbeat",),
    }
    said |= fields
    return Report(connection_id=row.pk, site_id=row.site_id, shard=shard, **said)


def running(site: Site) -> MqttConnection:
    """Return a started connection that its living owner has reported as connected."""
    row = configured(site)
    connection_start(site)
    now = timezone.now()
    record(report_on(row, connected_at=now))
    row.refresh_from_db()
    return row
