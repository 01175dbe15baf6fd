"""Knows the ids of devices and sensors; makes the rows of new ones as they appear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.db import OperationalError, connection


class DeviceKey(NamedTuple):
    """A device of a site; a gateway has the type ''."""

    site_id: int
    type: str
    number: str


class MissingRowError(OperationalError):
    """A cached id is no longer in the database: forget the cache and try again."""


class DeviceIds:
    """Ids by natural key, kept by the writer; `forget` after any failed batch."""

    def __init__(self) -> None:
        self.gateways: dict[DeviceKey, int] = {}
        self.dataloggers: dict[DeviceKey, int] = {}
        self.sensors: dict[tuple[int, str], int] = {}
        self.told: dict[tuple[int, str], tuple[str, str, str]] = {}  # of sensors

    def forget(self) -> None:
        self.gateways.clear()
        self.dataloggers.clear()
        self.sensors.clear()
        self.told.clear()


def ensure_gateways(ids: DeviceIds, keys: Iterable[DeviceKey]) -> None:
    missing = [key for key in set(keys) if key not in ids.gateways]
    if not missing:
        return
    rows = _ensure(
        "INSERT INTO devices_gateway (site_id, number, label, serial_number, "
        "firmware_version, presence, presence_since, created_at) "
        "SELECT site_id, number, '', '', '', 'unknown', now(), now() "
        "FROM unnest(%s::bigint[], %s::text[]) AS v(site_id, number) "
        "ORDER BY 1, 2 ON CONFLICT (site_id, number) DO NOTHING",
        "SELECT id, d.site_id, '', d.number FROM devices_gateway d "
        "JOIN unnest(%s::bigint[], %s::text[]) AS v(site_id, number) "
        "ON d.site_id = v.site_id AND d.number = v.number",
        [[key.site_id for key in missing], [key.number for key in missing]],
    )
    ids.gateways.update({DeviceKey(*row[1:]): row[0] for row in rows})


def ensure_dataloggers(ids: DeviceIds, keys: Iterable[DeviceKey]) -> None:
    missing = [key for key in set(keys) if key not in ids.dataloggers]
    if not missing:
        return
    rows = _ensure(
        "INSERT INTO devices_datalogger (site_id, type, number, label, serial_number, "
        "firmware_version, presence, presence_since, created_at) "
        "SELECT site_id, type, number, '', '', '', 'unknown', now(), now() "
        "FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS v(site_id, type, number) "
        "ORDER BY 1, 2, 3 ON CONFLICT (site_id, type, number) DO NOTHING",
        "SELECT id, d.site_id, d.type, d.number FROM devices_datalogger d "
        "JOIN unnest(%s::bigint[], %s::text[], %s::text[]) AS v(site_id, type, number) "
        "ON (d.site_id, d.type, d.number) = (v.site_id, v.type, v.number)",
        [
            [key.site_id for key in missing],
            [key.type for key in missing],
            [key.number for key in missing],
        ],
    )
    ids.dataloggers.update({DeviceKey(*row[1:]): row[0] for row in rows})


def ensure_sensors(ids: DeviceIds, keys: Iterable[tuple[int, str]]) -> None:
    """Know the ids of sensors given as (datalogger id, key)."""
    missing = [key for key in set(keys) if key not in ids.sensors]
    if not missing:
        return
    rows = _ensure(
        "INSERT INTO devices_sensordevice (datalogger_id, key, label, sensor_type, "
        "unit_of_measure, created_at) "
        "SELECT datalogger_id, key, '', '', '', now() "
        "FROM unnest(%s::bigint[], %s::text[]) AS v(datalogger_id, key) "
        "ORDER BY 1, 2 ON CONFLICT (datalogger_id, key) DO NOTHING",
        "SELECT id, d.datalogger_id, d.key FROM devices_sensordevice d "
        "JOIN unnest(%s::bigint[], %s::text[]) AS v(datalogger_id, key) "
        "ON d.datalogger_id = v.datalogger_id AND d.key = v.key",
        [[key[0] for key in missing], [key[1] for key in missing]],
    )
    ids.sensors.update({(row[1], row[2]): row[0] for row in rows})


def describe_sensors(
    ids: DeviceIds, infos: Mapping[tuple[int, str], tuple[str, str, str]]
) -> int:
    """Store what devices say about their sensors; return how many rows changed.

    Type and unit are the device's: what it says replaces what is there. Its label only
    fills an empty one, since people name sensors too. An empty text says nothing.

    Args:
        ids: learns what was told; the same words again cost no statement.
        infos: by datalogger id and key: label, type, unit. New sensors are made.
    """
    told = ids.told
    news = {key: info for key, info in infos.items() if told.get(key) != info}
    if not news:
        return 0
    ensure_sensors(ids, news)
    rows = sorted((ids.sensors[key], *info) for key, info in news.items())
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE devices_sensordevice s SET "
            "label = COALESCE(NULLIF(s.label, ''), v.label), "
            "sensor_type = COALESCE(NULLIF(v.type, ''), s.sensor_type), "
            "unit_of_measure = COALESCE(NULLIF(v.unit, ''), s.unit_of_measure) "
            "FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) "
            "AS v(id, label, type, unit) WHERE s.id = v.id AND ("
            "(s.label = '' AND v.label <> '') "
            "OR (v.type <> '' AND v.type <> s.sensor_type) "
            "OR (v.unit <> '' AND v.unit <> s.unit_of_measure))",
            [list(column) for column in zip(*rows, strict=True)],
        )
        changed = int(cursor.rowcount)
    told.update(news)
    return changed


def _ensure(insert: str, select: str, columns: list[list[object]]) -> list[tuple]:  # type: ignore[type-arg]
    with connection.cursor() as cursor:
        cursor.execute(insert, columns)
        cursor.execute(select, columns)
        rows: list[tuple] = cursor.fetchall()  # type: ignore[type-arg]
    return rows
