"""Changes to devices: the offline check, what people set, and what is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from django.db import connection, transaction
from django.utils import timezone

from apps.core import events
from apps.devices import presence
from apps.devices.models import Datalogger, Gateway, SensorDevice
from apps.devices.presence import PresenceChange
from apps.devices.waiting import waiting_shards
from apps.sites import commands

MANY_CHANGES = 20
PRUNE_AT_ONCE = 10_000  # rows of one statement, which has seconds to end
KEEP_PERIODS = timedelta(days=400)  # a year of months, and the month before it

Device = TypeVar("Device", Gateway, Datalogger)


def check_presence(now: datetime, site_id: int | None = None) -> int:
    """Turn devices unknown or offline whose time has come; return how many changed.

    Safe to repeat and to run twice at once. Each of the two transactions takes gateways
    first and dataloggers then, in the order of their ids, as batches do.
    """
    count = 0
    turn_offline = partial(presence.turn_offline, waiting=waiting_shards())
    for turn in (presence.turn_unknown, turn_offline):
        with transaction.atomic():
            changes = turn(now, site_id)
            transaction.on_commit(partial(broadcast, changes))
        count += len(changes)
    return count


def broadcast(changes: list[PresenceChange]) -> None:
    """Emit `device` for each change; many at once are a `resync`."""
    by_site: dict[int, list[PresenceChange]] = {}
    for change in changes:
        by_site.setdefault(change.site_id, []).append(change)
    for site_id, of_site in by_site.items():
        channel = [events.site_channel(site_id)]
        if len(of_site) > MANY_CHANGES:
            events.emit(channel, "resync", {})
            continue
        for change in of_site:
            data = {
                f"{change.kind}_id": change.device_id,
                "presence": change.presence,
                "cause": change.cause,
            }
            events.emit(channel, "device", data)


def device_update(device: Device, fields: Mapping[str, Any]) -> Device:
    """Store what people say about a device; return it as it is then.

    Writes these fields and the deadline that follows from them, nothing else: what was
    observed meanwhile stays. A deadline in the past is noticed at once.

    Raises:
        DoesNotExist: the device was deleted meanwhile.
    """
    with transaction.atomic():
        rows = type(device).objects.select_related("site")
        row = rows.select_for_update(of=("self",), no_key=True).get(pk=device.pk)
        for name, value in fields.items():
            setattr(row, name, value)
        changed = [*fields]
        if "offline_after_s" in fields and row.last_seen_at is not None:
            row.offline_after = row.last_seen_at + timedelta(seconds=row.silence_s)
            changed.append("offline_after")
            transaction.on_commit(lambda: commands.send_presence_check(row.site_id))
        row.save(update_fields=changed)
    return row


def sensor_update(sensor: SensorDevice, fields: Mapping[str, Any]) -> None:
    """Store what people say about a sensor; raises `DoesNotExist` if it is gone."""
    with transaction.atomic():
        SensorDevice.objects.select_for_update(no_key=True).get(pk=sensor.pk)
        for name, value in fields.items():
            setattr(sensor, name, value)
        sensor.save(update_fields=[*fields])


def prune_periods(now: datetime | None = None) -> int:
    """Delete the presence periods that ended too long ago; return how many."""
    before = (now or timezone.now()) - KEEP_PERIODS
    count, deleted = 0, PRUNE_AT_ONCE
    while deleted == PRUNE_AT_ONCE:
        with connection.cursor() as cursor:
            # By datalogger, since the index is: no look at the periods that stay.
            cursor.execute(
                "DELETE FROM devices_presenceperiod WHERE id = ANY(ARRAY("
                "SELECT p.id FROM devices_datalogger d CROSS JOIN LATERAL ("
                "SELECT id FROM devices_presenceperiod "
                "WHERE datalogger_id = d.id AND ended_at < %s LIMIT %s"
                ") p LIMIT %s))",
                [before, PRUNE_AT_ONCE, PRUNE_AT_ONCE],
            )
            deleted = int(cursor.rowcount)
        count += deleted
    return count
