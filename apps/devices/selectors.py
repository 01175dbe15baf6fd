"""What people may know about devices: dataloggers with uptime, sensors with values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Count, Q, Value
from django.db.models.functions import Concat
from django.http import Http404

from apps.devices.models import (
    Datalogger,
    Gateway,
    Presence,
    SensorDevice,
)
from apps.devices.uptime import WINDOWS, uptime_percentages, uptimes, window
from apps.sites.models import Site

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from apps.sites.selectors import Person


@dataclass(frozen=True, slots=True)
class SensorState:
    """A sensor with its current value: a number, or a text for a text sensor."""

    id: int
    datalogger_id: int
    key: str
    label: str
    sensor_type: str
    unit_of_measure: str
    is_online: bool
    current_value: float | str | None
    current_at: datetime | None


@dataclass(frozen=True, slots=True)
class GatewayState:
    """A gateway as it is now; `label` is never empty, times are aware UTC."""

    id: int
    site_id: int
    number: str
    label: str
    serial_number: str
    firmware_version: str
    presence: str
    is_online: bool
    presence_since: datetime
    offline_cause: str
    last_seen_at: datetime | None
    interval_s: int | None
    offline_after_s: int | None
    uptime_s: int | None
    rssi: float | None
    battery: float | None
    dataloggers_count: int


@dataclass(frozen=True, slots=True)
class DataloggerState:
    """A datalogger as it is now; `label` is never empty, times are aware UTC.

    `uptime_percentage` counts the last 24 h, 0 to 100 with two decimals; None if
    neither online nor offline time is known.
    """

    id: int
    site_id: int
    site_name: str
    gateway_id: int | None
    type: str
    number: str
    label: str
    serial_number: str
    firmware_version: str
    presence: str
    is_online: bool
    presence_since: datetime
    offline_cause: str
    last_seen_at: datetime | None
    interval_s: int | None
    offline_after_s: int | None
    uptime_s: int | None
    rssi: float | None
    battery: float | None
    protocol_version: int | None
    sensors_count: int
    uptime_percentage: float | None
    sensors: tuple[SensorState, ...] = field(default=())


def visible_gateways(user: Person, site: Site | None = None) -> QuerySet[Gateway]:
    rows = Gateway.objects.filter(site__in=Site.objects.visible_to(user))
    return rows if site is None else rows.filter(site=site)


def visible_gateway(user: Person, gateway_id: int) -> Gateway:
    """Return the gateway; raises `Http404` if this user may not know of it."""
    row = visible_gateways(user).filter(pk=gateway_id).first()
    if row is None:
        raise Http404
    return row


def visible_dataloggers(
    user: Person,
    *,
    site: Site | None = None,
    online_only: bool = False,
    search: str = "",
) -> QuerySet[Datalogger]:
    """Return the dataloggers this user may see.

    Args:
        user: whoever asks.
        site: only this site's.
        online_only: only those that are online now.
        search: part of the label, the serial number, or "type number".
    """
    rows = Datalogger.objects.filter(site__in=Site.objects.visible_to(user))
    if site is not None:
        rows = rows.filter(site=site)
    if online_only:
        rows = rows.filter(presence=Presence.ONLINE)
    if search:
        rows = rows.alias(name=Concat("type", Value(" "), "number")).filter(
            Q(label__icontains=search)
            | Q(serial_number__icontains=search)
            | Q(name__icontains=search)
        )
    return rows.select_related("site")


def visible_datalogger(user: Person, datalogger_id: int) -> Datalogger:
    """Return the datalogger; raises `Http404` if this user may not know of it."""
    row = visible_dataloggers(user).filter(pk=datalogger_id).first()
    if row is None:
        raise Http404
    return row


def visible_sensor(user: Person, sensor_id: int) -> SensorDevice:
    """Return the sensor; raises `Http404` if this user may not know of it."""
    row = (
        SensorDevice.objects.filter(datalogger__site__in=Site.objects.visible_to(user))
        .filter(pk=sensor_id)
        .select_related("datalogger")
        .first()
    )
    if row is None:
        raise Http404
    return row


def site_dataloggers(site: Site, *, now: datetime) -> list[DataloggerState]:
    """Return a site's dataloggers, each with its sensors and their values: 4 queries.

    The caller has checked that the user may see the site.
    """
    rows = list(Datalogger.objects.filter(site=site).select_related("site"))
    sensors: dict[int, list[SensorState]] = {}
    found = SensorDevice.objects.filter(datalogger__site=site)
    for sensor in found.select_related("datalogger"):
        sensors.setdefault(sensor.datalogger_id, []).append(sensor_state(sensor))
    return [
        replace(state, sensors=tuple(sensors.get(state.id, ())))
        for state in datalogger_states(rows, now=now)
    ]


def gateway_states(rows: Sequence[Gateway]) -> list[GatewayState]:
    """Return the state of each row, in their order; one query for all of them."""
    carried = Datalogger.objects.filter(gateway_id__in=[row.pk for row in rows])
    counted = carried.order_by().values("gateway_id").annotate(count=Count("pk"))
    counts = dict(counted.values_list("gateway_id", "count"))
    return [
        GatewayState(
            id=row.pk,
            site_id=row.site_id,
            number=row.number,
            label=str(row),
            serial_number=row.serial_number,
            firmware_version=row.firmware_version,
            presence=row.presence,
            is_online=row.is_online,
            presence_since=row.presence_since,
            offline_cause=row.offline_cause,
            last_seen_at=row.last_seen_at,
            interval_s=row.interval_s,
            offline_after_s=row.offline_after_s,
            uptime_s=row.uptime_s,
            rssi=finite(row.rssi),
            battery=finite(row.battery),
            dataloggers_count=counts.get(row.pk, 0),
        )
        for row in rows
    ]


def datalogger_states(
    rows: Sequence[Datalogger], *, now: datetime
) -> list[DataloggerState]:
    """Return the state of each row, in their order; two queries for all of them."""
    ids = [row.pk for row in rows]
    counts = sensor_counts(ids)
    uptimes = uptime_percentages(ids, now=now)
    return [
        DataloggerState(
            id=row.pk,
            site_id=row.site_id,
            site_name=row.site.name,
            gateway_id=row.gateway_id,
            type=row.type,
            number=row.number,
            label=str(row),
            serial_number=row.serial_number,
            firmware_version=row.firmware_version,
            presence=row.presence,
            is_online=row.is_online,
            presence_since=row.presence_since,
            offline_cause=row.offline_cause,
            last_seen_at=row.last_seen_at,
            interval_s=row.interval_s,
            offline_after_s=row.offline_after_s,
            uptime_s=row.uptime_s,
            rssi=finite(row.rssi),
            battery=finite(row.battery),
            protocol_version=row.protocol_version,
            sensors_count=counts.get(row.pk, 0),
            uptime_percentage=uptimes.get(row.pk),
        )
        for row in rows
    ]


def sensor_state(row: SensorDevice) -> SensorState:
    """Return the sensor with its value; `row.datalogger` should be loaded."""
    return SensorState(
        id=row.pk,
        datalogger_id=row.datalogger_id,
        key=row.key,
        label=str(row),
        sensor_type=row.sensor_type,
        unit_of_measure=row.unit_of_measure,
        is_online=row.datalogger.is_online,
        current_value=finite(row.current_value)
        if row.current_text is None
        else row.current_text,
        current_at=row.current_at,
    )


def sensor_counts(datalogger_ids: Iterable[int]) -> dict[int, int]:
    """Return the number of sensors by datalogger; those without any are missing."""
    rows = SensorDevice.objects.filter(datalogger_id__in=list(datalogger_ids))
    counted = rows.order_by().values("datalogger_id").annotate(count=Count("pk"))
    return dict(counted.values_list("datalogger_id", "count"))


def uptime_by_window(row: Datalogger, *, now: datetime) -> dict[str, float | None]:
    """Return the percentage of each window; `row.site` should be loaded."""
    windows = [window(name, now=now, zone=row.site.timezone) for name in WINDOWS]
    found = uptimes([row.pk], windows)[row.pk]
    return {
        each.name: known.percentage for each, known in zip(windows, found, strict=True)
    }


def finite(value: float | None) -> float | None:
    """Return None for NaN and infinity: JSON has no word for them."""
    return value if value is not None and math.isfinite(value) else None
