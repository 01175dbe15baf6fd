"""Rollups of a local day: the calendar of the sensor's site decides where it begins.

Each sensor's days are those of one zone, which is noted. When the site has moved to
another zone the days are computed anew; until then questions read the hours instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection

from apps.telemetry import partitions
from apps.telemetry.pieces import day_of, day_start, moment_of
from apps.telemetry.rollup_tables import DAYS, HOURS, MINUTES, Bucket, compute

AT_ONCE = 20  # sensors whose days are computed anew together: years of their hours

_SITES_ZONE = """
FROM devices_sensordevice s JOIN devices_datalogger d ON d.id = s.datalogger_id
JOIN sites_site t ON t.id = d.site_id
"""


def zones(sensor_ids: Iterable[int]) -> dict[int, str]:
    """Return the zone of each sensor's stored days; without any it is missing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sensor_id, zone FROM telemetry_rollup_zone "
            "WHERE sensor_id = ANY(%s)",
            [list(sensor_ids)],
        )
        return dict(cursor.fetchall())


def forget_deleted() -> None:
    """Forget the zones of sensors that are no more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM telemetry_rollup_zone z WHERE NOT EXISTS "
            "(SELECT FROM devices_sensordevice s WHERE s.id = z.sensor_id)"
        )


def roll_days(quarters: Collection[tuple[int, int]]) -> None:
    """Compute the days that hold these (sensor, quarter of an hour since 1970).

    No zone's day begins within a quarter of an hour.
    """
    zone_of = _noted_zones({sensor for sensor, _ in quarters})
    compute_days(
        {
            (sensor, zone_of[sensor], _day(quarter, zone_of[sensor]))
            for sensor, quarter in quarters
            if sensor in zone_of  # else the sensor was deleted
        }
    )


@lru_cache(maxsize=10_000)
def _day(quarter: int, zone: str) -> date:
    return day_of(moment_of(quarter * 15), ZoneInfo(zone))


def _noted_zones(sensor_ids: set[int]) -> dict[int, str]:
    """Return the zone of each sensor's days, noting the site's for a new sensor."""
    known = zones(sensor_ids)
    if new := sensor_ids - known.keys():
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO telemetry_rollup_zone (sensor_id, zone) "
                f"SELECT s.id, t.timezone {_SITES_ZONE} WHERE s.id = ANY(%s) "
                "ON CONFLICT DO NOTHING RETURNING sensor_id, zone",
                [list(new)],
            )
            known.update(cursor.fetchall())
    return known


def compute_days(days: Iterable[tuple[int, str, date]]) -> None:
    """Compute days given as (sensor, zone, local day).

    From the hours where the day begins and ends with one; else from the minutes, as
    long as they are kept.
    """
    kept_s = partitions.midnight(
        partitions.today() - timedelta(days=settings.ROLLUP_1M_RETENTION_DAYS)
    ).timestamp()
    by_source: dict[str, list[Bucket]] = {HOURS.table: [], MINUTES.table: []}
    for sensor, zone, day in sorted(days):
        since_s, until_s = _bounds(day, zone)
        is_whole = since_s % 3600 == until_s % 3600 == 0
        source = HOURS if is_whole or since_s < kept_s else MINUTES
        by_source[source.table].append(Bucket(sensor, since_s, until_s))
    for table, buckets in by_source.items():
        DAYS.ensure(
            {datetime.fromtimestamp(bucket.since_s, UTC).date() for bucket in buckets}
        )
        compute(DAYS.table, table, buckets)


@lru_cache(maxsize=10_000)
def _bounds(day: date, zone: str) -> tuple[int, int]:
    start = day_start(day, ZoneInfo(zone))
    end = day_start(day + timedelta(days=1), ZoneInfo(zone))
    return int(start.timestamp()), int(end.timestamp())


def rezone() -> int:
    """Compute anew the days of some sensors whose site has another zone now.

    Returns:
        How many sensors; 0 when there are none left.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT z.sensor_id, t.timezone {_SITES_ZONE} "
            "JOIN telemetry_rollup_zone z ON z.sensor_id = s.id "
            "WHERE z.zone <> t.timezone LIMIT %s",
            [AT_ONCE],
        )
        moved = cursor.fetchall()
    if moved:
        rebuild([row[0] for row in moved])
    return len(moved)


def rebuild(sensor_ids: Sequence[int]) -> None:
    """Compute all days of these sensors anew, in their site's zone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM telemetry_rollup_zone WHERE sensor_id = ANY(%s)",
            [list(sensor_ids)],
        )
        cursor.execute(
            "DELETE FROM telemetry_rollup_1d WHERE sensor_id = ANY(%s)",
            [list(sensor_ids)],
        )
        cursor.execute(
            "SELECT sensor_id, array_agg(DISTINCT date_bin('1 day', at, 'epoch')) "
            "FROM telemetry_rollup_1h WHERE sensor_id = ANY(%s) GROUP BY 1",
            [list(sensor_ids)],
        )
        found = cursor.fetchall()
    # A day of UTC meets two local days, or three in a zone at the edge of the world.
    roll_days(
        {
            (sensor, int(day.timestamp()) // 900 + quarter)
            for sensor, days in found
            for day in days
            for quarter in (0, 48, 95)
        }
    )
