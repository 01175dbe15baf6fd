"""Batches of one site as the writer would hand them over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from apps.core.shards import shard_of
from apps.devices.models import SensorDevice
from apps.sites import leases
from apps.sites.models import ConnectionStats, Site
from apps.sites.services import connection_of
from apps.telemetry.facts import (
    Bad,
    DeviceRef,
    DeviceStatus,
    Entry,
    Fact,
    Heartbeat,
    Message,
    Sample,
    Samples,
)
from apps.telemetry.ingest import Ingest, Written
from apps.telemetry.models import Reading

MONSTRO = DeviceRef(gateway=None, type="monstro", number="15")
BEHIND = DeviceRef(gateway="gw7", type="monstro", number="15")
GATEWAY = DeviceRef(gateway="gw7", type=None, number="gw7")

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


def now_us() -> int:
    return int(datetime.now(UTC).timestamp() * 1e6)


def moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)


class Feed:
    """A site whose shard is ours, and an ingest; every message comes 1 ms later."""

    def __init__(self, site: Site, owner: str = "mqtt@here") -> None:
        self.site = site
        self.connection = connection_of(site)
        self.shard = shard_of(site.pk, settings.MQTT_SHARDS)
        epoch = leases.take(self.shard, owner)
        self.epoch = epoch or leases.states()[self.shard].epoch
        self.ingest = Ingest()
        self.clock_us = now_us() - 60 * SECOND_US

    def message(self, content: bytes = b"", **but: Any) -> Message:
        self.clock_us += 1_000
        said: dict[str, Any] = {
            "shard": self.shard,
            "site_id": self.site.pk,
            "connection_id": self.connection.pk,
            "session": 1,
            "topic": b"t",
            "payload": content,
            "qos": 1,
            "retain": False,
            "dup": False,
            "mid": self.clock_us // 1_000 % 65_535 + 1,
            "received_us": self.clock_us,
        }
        return Message(**(said | but))

    def entry(self, fact: Fact, **but: Any) -> Entry:
        content = but.pop("content", repr(fact).encode())
        return Entry(self.message(content, **but), fact)

    def data(
        self,
        *values: float | str,
        at: int | None = None,
        key: str = "t",
        device: DeviceRef = MONSTRO,
        **but: Any,
    ) -> Entry:
        """Return a data message with these values of one sensor, all at one time."""
        samples = [
            Sample(key, None, value, at)
            if isinstance(value, str)
            else Sample(key, float(value), None, at)
            for value in values
        ]
        return self.entry(Samples(device, samples), **but)

    def heartbeat(self, device: DeviceRef = MONSTRO, **said: Any) -> Entry:
        but = {
            name: said.pop(name) for name in ("retain", "dup", "mid") if name in said
        }
        return self.entry(Heartbeat(device, **said), **but)

    def status(self, *, online: bool, device: DeviceRef = MONSTRO, **but: Any) -> Entry:
        return self.entry(DeviceStatus(device, online), **but)

    def bad(self, reason: str = "json_invalid", **but: Any) -> Entry:
        return self.entry(Bad(reason, "why"), **but)

    def write(self, *entries: Entry, **options: Any) -> Written:
        return self.ingest.write_batch(entries, {self.shard: self.epoch}, **options)

    def restart(self) -> None:
        """Forget everything, as a new process does."""
        self.ingest = Ingest()

    @property
    def sensor(self) -> SensorDevice:
        return SensorDevice.objects.get(datalogger__site=self.site)

    @property
    def counters(self) -> tuple[int, int, int, int, int]:
        """Return received, stored, duplicate, quarantined, dropped."""
        stats = ConnectionStats.objects.get(connection=self.connection)
        return (
            stats.received,
            stats.stored,
            stats.duplicate,
            stats.quarantined,
            stats.dropped,
        )


def values() -> list[float | str | None]:
    """Return all stored values in the order of their times."""
    rows = Reading.objects.order_by("measured_at", "received_at", "value", "text")
    return [row.value if row.text is None else row.text for row in rows]
