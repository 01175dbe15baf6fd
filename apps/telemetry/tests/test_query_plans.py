"""The common questions never read a big table from end to end."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from apps.core.tests.clients import client_of
from apps.devices.models import SensorDevice
from apps.telemetry import invention, partitions, rollup_days, rollups
from apps.telemetry.models import Reading
from apps.telemetry.partitions import READINGS, midnight
from apps.telemetry.rollup_tables import DAYS, HOURS, MINUTES

_ROLLUPS = """
INSERT INTO {table} (sensor_id, at, n, numbers, sum, min, max, first, last)
SELECT s, %s::timestamptz + n * %s::interval, 1, 1, 1, 1, 1, 1, 1
FROM generate_series(1, {sensors}) s, generate_series(1, {each}) n
ON CONFLICT DO NOTHING
"""


@pytest.fixture
def day():
    return partitions.today() - timedelta(days=1)


class Tables(NamedTuple):
    """Names of partitions: those that hold what is asked for, and the big ones."""

    asked: set[str]
    big: set[str]


@pytest.fixture
def tables(north, day) -> Tables:
    """Fill a partition of each table."""
    sensors = invention.devices(north, dataloggers=20, sensors=40)
    invention.invent_day(day, sensors, 180)
    first = midnight(day) - timedelta(days=300)
    with connection.cursor() as cursor:
        for table, step, each in ((HOURS, "1 hour", 400), (DAYS, "1 day", 250)):
            table.ensure({first.date(), day})
            cursor.execute(
                _ROLLUPS.format(table=table.table, sensors=100, each=each),
                [first, step],
            )
        cursor.execute("ANALYZE telemetry_reading, telemetry_rollup_1m")
        cursor.execute("ANALYZE telemetry_rollup_1h, telemetry_rollup_1d")
    for sensor_id, _ in sensors:
        rollup_days.compute_days([(sensor_id, "UTC", day)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relpages >= 20")
        large = {name for (name,) in cursor.fetchall()}
    assert {READINGS.name_of(day), MINUTES.name_of(day)} <= large
    # In January the year's partition has one page, which is rightly read whole.
    asked = {
        READINGS.name_of(day),
        MINUTES.name_of(day),
        *(HOURS.name_of(d) for d in (first.date(), day)),
        *(DAYS.name_of(d) for d in (first.date(), day)),
    }
    return Tables(asked, asked & large)


def plans_of(action: Callable[[], object]) -> list[str]:
    """Return the plans of what an action asked of the readings and rollups."""
    asked: list[tuple[str, Any]] = []

    def note(execute, sql, params, many, context):
        if re.search("telemetry_(reading|rollup)", sql):
            asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        action()
    plans = []
    with connection.cursor() as cursor:
        for sql, params in asked:
            if sql.lstrip().startswith(("SELECT", "INSERT INTO telemetry_rollup_1")):
                cursor.execute(f"EXPLAIN {sql}", params)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))
    return plans


def whole_reads(plans: list[str], big: set[str]) -> list[str]:
    found = re.findall(r"Seq Scan on (\w+)", "\n".join(plans))
    return [name for name in found if name in big]


QUESTIONS = (
    ("raw", 1),
    ("raw", None),
    ("1m", 1),
    ("15m", 1),
    ("1h", 300),
    ("6h", 300),
    ("1d", 300),
    ("1mo", 300),
    ("all", 300),
    ("all", None),
    ("auto", 300),
)


def test_no_chart_and_no_rolling_up_reads_a_whole_table(tables, superuser, day):
    sensor = SensorDevice.objects.earliest("pk")
    client = client_of(superuser)
    for interval, days in QUESTIONS:
        since = "" if days is None else f"&from={day + timedelta(days=1 - days)}"
        query = f"?interval={interval}{since}&to={day + timedelta(days=1)}"
        for path in (
            f"/api/v1/mqtt/sensors/{sensor.pk}/readings/{query}",
            f"/api/v1/mqtt/dataloggers/{sensor.datalogger_id}/history/{query}",
        ):
            plans = plans_of(lambda path=path: client.get(path))

            assert any(name in "\n".join(plans) for name in tables.asked), plans
            assert whole_reads(plans, tables.big) == [], "\n".join([path, *plans])

    moment = int(midnight(day).timestamp() * 1e6) + 3_600_000_000
    rollups.mark_due([(sensor.pk, moment + n, 0, 1.0, None, 0, 0) for n in range(3)])
    plans = plans_of(rollups.run)
    assert len(plans) >= 3
    assert whole_reads(plans, tables.big) == [], "\n".join(plans)


def test_an_invented_history_is_whole_and_has_its_rollups(north, capsys):
    for _ in range(2):
        call_command(
            "generate_history",
            site=north.code,
            dataloggers=2,
            sensors=7,
            days=2,
            interval=1_800,
        )
    call_command("roll_up", all=True)

    said = capsys.readouterr().out
    assert Reading.objects.count() == 7 * 2 * 48
    assert "672 readings" in said
    assert "100%" in said
    with connection.cursor() as cursor:
        for level, buckets in (("1m", 672), ("1h", 336), ("1d", 14)):
            cursor.execute(f"SELECT count(*), sum(n) FROM telemetry_rollup_{level}")
            assert cursor.fetchone() == (buckets, 672)


def test_inventing_refuses_nonsense(db):
    for wrong in ({"days": 0}, {"sensors": 10**9}, {"interval": -1}):
        with pytest.raises(CommandError, match="use a number from"):
            call_command("generate_history", site="x", **wrong)
