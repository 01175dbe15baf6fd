"""What `bench.pages` looks at: a full installation, and one site with a past."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from functools import cache
from hashlib import sha256

from django.db import connection, transaction
from django.utils import timezone

from apps.alerts.models import Alert
from apps.core import events
from apps.devices.discovery import topic_digest
from apps.devices.models import (
    Datalogger,
    DiscoveredTopic,
    PresencePeriod,
    SensorDevice,
)
from apps.sites import reports
from apps.sites.leases import take
from apps.sites.models import (
    Command,
    ConnectionEvent,
    ConnectionStats,
    MqttConnection,
    ShardLease,
    Site,
)
from apps.telemetry import partitions, rollups
from apps.telemetry.models import QuarantinedMessage

TOPICS = 5_000  # the most that a site keeps
PAYLOAD = b'{"t": 21.5, "state": "on", "list": [1, 2, 3], "why": "%s"}' % (b"x" * 1_800)
ROWS = 2_000  # of each thing that piles up: commands, quarantine, alerts, outages
DAYS = 3  # of readings, six a minute
TICKS_S = 20


def fill(sites: int, dataloggers: int, sensors: int) -> None:
    """Invent what is missing; sites are in every state, two in three connected."""
    if Site.objects.count() < sites:
        _fill_sites(sites, dataloggers, sensors)
    site = Site.objects.order_by("name").first()
    if site is not None and not site.discovered_topics.exists():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            _fill_past(site)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _fill_sites(sites: int, dataloggers: int, sensors: int) -> None:
    now = timezone.now()
    made = Site.objects.bulk_create(
        Site(name=f"Stabilimento di prova {n}", code=f"site_{n:03}")
        for n in range(sites)
    )
    looks = [("connected", "")] * 4 + [("error", "dns"), ("disconnected", "")]
    connections = MqttConnection.objects.bulk_create(
        MqttConnection(
            site=site,
            broker_host=f"broker{n % 7}.plant.example",
            is_enabled=looks[n % 6][0] != "disconnected",
            status=looks[n % 6][0],
            reason=looks[n % 6][1],
            report_epoch=1,
            last_connected_at=now,
        )
        for n, site in enumerate(made)
    )
    ConnectionStats.objects.bulk_create(
        ConnectionStats(connection=row, received=9_999, last_message_at=now)
        for row in connections
    )
    devices = Datalogger.objects.bulk_create(
        (
            Datalogger(
                site=site,
                type="monstro",
                number=str(n),
                label=f"Datalogger edificio {n}",
                presence=("online", "online", "offline", "unknown")[n % 4],
                firmware_version="V.5.53.0",
                last_seen_at=now,
            )
            for site in made
            for n in range(dataloggers)
        ),
        batch_size=5_000,
    )
    SensorDevice.objects.bulk_create(
        (
            SensorDevice(
                datalogger=device,
                key=f"s{n}",
                label=f"Temperatura {n}",
                sensor_type="temperature",
                unit_of_measure="°C",
                current_value=device.pk % 977 / 7 + n,
                current_at=now,
            )
            for device in devices
            for n in range(sensors)
        ),
        batch_size=5_000,
    )


def _fill_past(site: Site) -> None:
    """Give a site as much of everything as it keeps."""
    now = timezone.now()
    ages = [now - timedelta(minutes=10 * n) for n in range(ROWS)]
    names = [f"{site.code}/zigbee/room_{n % 97}/thing_{n}/state" for n in range(TOPICS)]
    DiscoveredTopic.objects.bulk_create(
        (
            DiscoveredTopic(
                site=site,
                topic=name,
                digest=topic_digest(name),
                first_seen=now - timedelta(days=9),
                last_seen=now - timedelta(seconds=n * 37 % TOPICS),
                message_count=n,
                rate_per_minute=n / 7,
                last_payload=PAYLOAD,
                payload_size=len(PAYLOAD),
                content_type="json",
                paths=[{"path": "$.t", "type": "number"}],
                state=("new", "new", "new", "ignored", "accepted")[n % 5],
            )
            for n, name in enumerate(names)
        ),
        batch_size=500,
    )
    QuarantinedMessage.objects.bulk_create(
        (
            QuarantinedMessage(
                site=site,
                received_at=at,
                topic=f"{site.code}/datalogger/a/1/data",
                payload=PAYLOAD[:-5],
                payload_size=len(PAYLOAD) - 5,
                qos=1,
                retain=False,
                reason=("json_invalid", "schema_mismatch")[n % 2],
            )
            for n, at in enumerate(ages)
        ),
        batch_size=500,
    )
    Command.objects.bulk_create(
        Command(
            site=site,
            username="bench",
            created_at=at,
            topic=f"{site.code}/datalogger/monstro/{n % 20}/input",
            payload_size=20,
            payload_sha256=sha256(b"").hexdigest(),
            state="delivered",
            expires_at=at,
            sent_at=at,
            delivered_at=at,
        )
        for n, at in enumerate(ages)
    )
    link = MqttConnection.objects.get(site=site)
    ConnectionEvent.objects.bulk_create(
        ConnectionEvent(
            connection=link,
            at=at,
            old_status=("error", "connected")[n % 2],
            new_status=("connected", "error")[n % 2],
            reason=("", "refused")[n % 2],
        )
        for n, at in enumerate(ages)
    )
    device = Datalogger.objects.filter(site=site).order_by("pk")[0]
    Alert.objects.bulk_create(
        Alert(
            kind="datalogger",
            site=site,
            datalogger=device,
            subject=str(device),
            cause="silence",
            opened_at=at,
            confirmed_at=at,
            closed_at=at + timedelta(minutes=5),
        )
        for at in ages
    )
    PresencePeriod.objects.bulk_create(
        PresencePeriod(
            datalogger=device,
            presence=("online", "offline")[n % 2],
            started_at=at,
            ended_at=at + timedelta(minutes=10) if n else None,
        )
        for n, at in enumerate(ages)
    )
    _fill_readings(device)


def _fill_readings(device: Datalogger) -> None:
    now = timezone.now()
    start = now - timedelta(days=DAYS)
    partitions.ensure(start.date() + timedelta(days=n) for n in range(DAYS + 1))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO telemetry_reading"
            " (sensor_id, measured_at, received_at, flags, value)"
            " SELECT id, at, at, 0, 20 + 5 * sin(extract(epoch FROM at) / 9000)"
            " FROM devices_sensordevice, generate_series(%s, %s, '10 s'::interval) at"
            " WHERE datalogger_id = %s",
            [start, now, device.pk],
        )
    rollups.fill(start, now)


def pretend() -> None:
    """Speak for workers: leases for an hour, reports with half an hour of counts."""
    now, chance = timezone.now(), random.Random(7)
    for shard in (0, 1):
        take(shard, "bench@pages")
    ShardLease.objects.update(expires_at=now + timedelta(hours=1))
    epochs = dict(ShardLease.objects.values_list("shard", "epoch"))
    reports.store(
        (
            reports.Report(
                connection_id=row.pk,
                site_id=row.site_id,
                generation=row.generation,
                epoch=epochs[row.site_id % 2],
                seq=1,
                status=row.status,
                reason=row.reason,
                detail="",
                at=now,
                owner="bench@pages",
                shard=row.site_id % 2,
                last_message_at=now,
                topics=("a/+/heartbeat",) * 9,
                per_minute=tuple(chance.choices(range(200), k=30)),
            )
            for row in MqttConnection.objects.exclude(status="disconnected")
        ),
        ttl_s=3600,
    )


def storm(kind: str, seconds: int) -> None:
    """Say to browsers what 200 sites, or sensors, say that change 5 times a second.

    Prints how many changes there were: a busy machine may not manage all of them.
    """
    say = {"statuses": _say_statuses, "values": _say_values}[kind]
    start, said = time.monotonic(), 0
    while (tick := int((time.monotonic() - start) * TICKS_S)) < seconds * TICKS_S:
        said += say(tick)
        time.sleep(max(0.0, start + (tick + 1) / TICKS_S - time.monotonic()))
    print(said)


def _say_statuses(tick: int) -> int:
    """A quarter of the sites, twenty times a second."""
    looks = [("connected", True, ""), ("error", True, "dns"), ("connecting", True, "")]
    sites = list(_storm_sites())[tick % 4 :: 4]
    for place, site_id in enumerate(sites):
        status, is_enabled, reason = looks[(tick // 4 + place) % len(looks)]
        data = {"site_id": site_id, "status": status, "is_enabled": is_enabled}
        events.emit([events.STATUS_FOR_ALL], "status", data | {"reason": reason})
    return len(sites)


def _say_values(tick: int) -> int:
    """All sensors of the site with a past, five times a second."""
    if tick % 4:
        return 0
    site_id, sensor_ids = _storm_sensors()
    at = timezone.now().isoformat()
    values = [
        {"sensor_id": sensor_id, "value": (tick * 7 + place) % 999 / 10, "at": at}
        for place, sensor_id in enumerate(sensor_ids)
    ]
    data = {"site_id": site_id, "epoch": 1, "seq": tick // 4 + 1, "values": values}
    events.emit([events.site_channel(site_id)], "telemetry", data)
    return len(values)


@cache
def _storm_sites() -> list[int]:
    return list(Site.objects.order_by("name").values_list("pk", flat=True)[:200])


@cache
def _storm_sensors() -> tuple[int, list[int]]:
    site_id = _storm_sites()[0]
    found = SensorDevice.objects.filter(datalogger__site=site_id)
    return site_id, list(found.values_list("pk", flat=True)[:200])
