"""What the rollups say is what the readings say, whatever came when."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from apps.telemetry import partitions, retention, rollup_days, rollups, tasks
from apps.telemetry.models import Reading
from apps.telemetry.rollup_tables import DAYS, HOURS, MINUTES
from apps.telemetry.tests.histories import Said, asked, expected, make_sensor, store

INTERVALS = ("1m", "5m", "15m", "1h", "6h", "1d", "1w", "1mo", "all")


@pytest.fixture
def sensor(north):
    north.timezone = "Europe/Rome"
    north.save()
    return make_sensor(north)


def noon(days_ago: int) -> datetime:
    """Return noon of a past day, UTC."""
    day = timezone.now().astimezone(UTC).date() - timedelta(days=days_ago)
    return datetime.combine(day, time(12), UTC)


def count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


def rolled(sensor, table: str = "1m") -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT at, n, numbers, sum, min, max, first, last, first_text, last_text "
            f"FROM telemetry_rollup_{table} WHERE sensor_id = %s ORDER BY at",
            [sensor.pk],
        )
        return list(cursor.fetchall())


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, figures in wanted.items():
        for one, other in zip(found[key], figures, strict=True):
            assert one == (
                pytest.approx(other) if isinstance(other, float) else other
            ), key


def test_a_minute_an_hour_and_a_day_hold_the_figures(sensor):
    at = noon(3)
    readings: list[Said] = [(at, 2.0), (at + timedelta(seconds=59), 6.0), (at, "open")]
    store(sensor, readings)

    progress = rollups.run()

    figures = (3, 2, 8.0, 2.0, 6.0, 2.0, 6.0, None, None)
    assert rolled(sensor, "1m") == [(at, *figures)]
    assert rolled(sensor, "1h") == [(at, *figures)]
    [day] = rolled(sensor, "1d")
    assert day[1:] == figures
    assert at - timedelta(hours=24) < day[0] <= at
    assert (progress.minutes, progress.lag_s) == (1, 0)


def test_what_came_in_any_order_adds_up(sensor):
    chance = random.Random(7)
    base = noon(60)
    readings: list[Said] = [
        (
            base + timedelta(seconds=chance.randrange(50 * 86_400)),
            chance.choice([chance.uniform(-50, 50), 1.0, "open", "shut"]),
        )
        for _ in range(400)
    ]
    left = list(readings)
    while left:
        batch, left = left[:70], left[70:]
        store(sensor, batch)
        if chance.random() < 0.6:
            rollups.run()
    start, end = base + timedelta(days=3, seconds=17), base + timedelta(days=47)

    for zone in ("Europe/Rome", "Asia/Kolkata"):
        for interval in INTERVALS:
            found = asked([sensor], interval, zone=zone, start=start, end=end)

            same(
                found,
                expected(sensor, readings, interval, zone=zone, start=start, end=end),
            )


def test_a_reading_is_in_the_answer_before_it_is_rolled_up(sensor):
    now = timezone.now()
    store(sensor, [(now - timedelta(days=2), 1.0)])
    rollups.run()
    store(sensor, [(now, 5.0), (now - timedelta(days=2, seconds=-1), 3.0)])

    [figures] = asked([sensor], "all", start=now - timedelta(days=3)).values()

    assert figures[:5] == (1.0, 5.0, 3.0, 9.0, 3)


def test_a_long_backlog_is_read_from_the_readings(sensor, monkeypatch):
    monkeypatch.setattr(rollups, "_LOOKED_THROUGH", 8)
    base = noon(3)
    readings = [(base + timedelta(minutes=n), float(n)) for n in range(5)]
    store(sensor, readings[:2])
    rollups.run()
    store(sensor, readings[2:])

    [figures] = asked([sensor], "all", start=base).values()

    assert figures[4] == 5


def test_a_change_of_clocks_makes_a_day_of_23_or_25_hours(north, sensor, settings):
    settings.TELEMETRY_RETENTION_DAYS = 800
    year = timezone.now().year - 1
    for month, hours in ((3, 23), (10, 25)):
        last = datetime(year, month, 31, tzinfo=UTC)
        sunday = last - timedelta(days=(last.weekday() + 1) % 7)
        readings = [(sunday + timedelta(hours=n), 1.0) for n in range(-30, 50)]
        store(sensor, readings)
        rollups.run()

        found = asked(
            [sensor],
            "1d",
            zone="Europe/Rome",
            start=sunday - timedelta(hours=30),
            end=sunday + timedelta(hours=50),
        )

        assert hours in [figures[4] for figures in found.values()]


def test_a_repeat_changes_no_row(sensor):
    store(sensor, [(noon(2), 1.0)])
    rollups.run()
    before = _versions()
    store(sensor, [(noon(2), 1.0)])

    rollups.run()

    assert _versions() == before


def _versions() -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ctid::text, at FROM telemetry_rollup_1m UNION ALL "
            "SELECT ctid::text, at FROM telemetry_rollup_1h UNION ALL "
            "SELECT ctid::text, at FROM telemetry_rollup_1d"
        )
        return list(cursor.fetchall())


def test_what_retention_took_stays_in_the_rollups(sensor, settings):
    at = noon(5)
    store(sensor, [(at, 2.0), (at + timedelta(seconds=1), 4.0)])
    rollups.run()
    settings.TELEMETRY_RETENTION_DAYS = 3
    assert partitions.drop_expired()
    store(sensor, [(at + timedelta(seconds=2), 100.0)])  # late, to the same minute

    rollups.run()

    assert [row[1:6] for row in rolled(sensor)] == [(2, 2, 6.0, 2.0, 4.0)]
    assert asked([sensor], "1d", start=noon(9))


def test_an_import_older_than_the_retention_is_rolled_up_before_it_goes(
    sensor, settings
):
    settings.TELEMETRY_RETENTION_DAYS = 3
    store(sensor, [(noon(30), 2.0)])

    retention.drop_readings()

    assert not Reading.objects.exists()
    assert len(rolled(sensor, "1m")) == len(rolled(sensor, "1d")) == 1


def test_old_readings_stay_while_they_cannot_be_rolled_up(
    sensor, settings, monkeypatch, caplog
):
    settings.TELEMETRY_RETENTION_DAYS = 3
    store(sensor, [(noon(30), 2.0)])
    monkeypatch.setattr(rollups, "run", lambda limit_s: None)

    assert retention.drop_readings() == []

    assert Reading.objects.count() == 1
    assert "stay until" in caplog.text


def test_rollups_leave_by_their_own_retention(sensor, settings):
    store(sensor, [(noon(100), 1.0), (noon(800), 2.0), (noon(1), 3.0)])
    rollups.run()
    settings.ROLLUP_1M_RETENTION_DAYS = 60
    settings.ROLLUP_RETENTION_DAYS = 400

    rollups.drop_expired()

    assert [row[3] for row in rolled(sensor, "1m")] == [3.0]
    assert [row[3] for row in rolled(sensor, "1h")] == [1.0, 3.0]
    assert [row[3] for row in rolled(sensor, "1d")] == [1.0, 3.0]


def test_a_site_that_moves_to_another_zone_gets_its_days_anew(north, sensor):
    readings = [(noon(9) + timedelta(hours=n), float(n)) for n in range(90)]
    store(sensor, readings)
    rollups.run()
    north.timezone = "Asia/Tokyo"
    north.save()
    bounds: dict[str, Any] = {"start": noon(9), "end": noon(4)}

    for is_rezoned in (False, True):
        found = asked([sensor], "1d", zone="Asia/Tokyo", **bounds)

        same(found, expected(sensor, readings, "1d", zone="Asia/Tokyo", **bounds))
        assert (rollup_days.zones([sensor.pk])[sensor.pk] == "Asia/Tokyo") is is_rezoned
        rollups.run()
    assert sum(row[1] for row in rolled(sensor, "1d")) == 90


def test_half_hour_zones_have_right_days(north, sensor):
    north.timezone = "Asia/Kolkata"
    north.save()
    readings = [(noon(9) + timedelta(minutes=10 * n), float(n)) for n in range(600)]
    store(sensor, readings)
    rollups.run()
    bounds: dict[str, Any] = {"start": noon(9), "end": noon(4), "zone": "Asia/Kolkata"}

    same(
        asked([sensor], "1d", **bounds),
        expected(sensor, readings, "1d", **bounds),
    )


def test_numbers_too_large_to_add_hold_up_nothing(sensor):
    at = noon(2)
    store(sensor, [(at, 1e308), (at + timedelta(seconds=1), 1e308), (noon(1), 2.0)])

    assert rollups.run().lag_s == 0

    found = list(asked([sensor], "1d", start=noon(4)).values())
    assert [figures[3] for figures in found] == [None, 2.0]
    assert found[0][1] == 1e308


def test_a_sensor_that_was_deleted_meanwhile_is_no_problem(sensor):
    store(sensor, [(noon(2), 1.0)])
    sensor.delete()

    assert rollups.run().lag_s == 0
    rollups.drop_expired()
    assert count("telemetry_rollup_zone") == 0


def test_what_waits_to_be_rolled_up_hides_nothing_that_retention_took(
    sensor, settings, monkeypatch
):
    store(sensor, [(noon(n), float(n)) for n in range(1, 30)])
    rollups.run()
    settings.TELEMETRY_RETENTION_DAYS = 3
    partitions.drop_expired()
    monkeypatch.setattr(rollups, "_LOOKED_THROUGH", 1)
    store(sensor, [(noon(29) + timedelta(minutes=1), 100.0)])

    for _ in range(2):
        found = asked([sensor], "1d", start=noon(31)).values()

        assert [row[4] for row in found][1:] == [1] * 28
        rollups.run()


def test_a_run_is_bounded_and_says_how_late_it_is(sensor, monkeypatch):
    monkeypatch.setattr(rollups, "_CHUNK_BYTES", 8)
    for n in range(5):
        store(sensor, [(noon(2) + timedelta(minutes=n), 1.0)])

    progress = rollups.run(limit_s=0)
    assert progress.minutes == 0
    assert progress.lag_s > 0

    progress = rollups.run()
    assert (progress.minutes, progress.lag_s) == (5, 0)
    assert len(rolled(sensor)) == 5


def test_the_task_warns_when_it_is_behind(sensor, monkeypatch, caplog):
    store(sensor, [(noon(2), 1.0)])
    monkeypatch.setattr(tasks, "SLOW_S", -1)

    tasks.roll_up()

    assert "behind" in caplog.text
    assert count("telemetry_rollup_due") == 0


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_are_right(sensor, monkeypatch):
    monkeypatch.setattr(rollups, "_CHUNK_BYTES", 16)
    base = noon(2)
    for n in range(40):
        store(sensor, [(base + timedelta(minutes=n), float(n))])

    def work():
        try:
            for _ in range(40):
                rollups.run()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rollups.run(limit_s=60)  # each may have left the last of it to another one

    assert count("telemetry_rollup_due") == 0
    assert [row[1:4] for row in rolled(sensor, "1h")] == [(40, 40, 780.0)]


@pytest.mark.django_db(transaction=True)
def test_a_reader_of_the_readings_does_not_block_the_ingest_for_long(
    sensor, settings, monkeypatch, caplog
):
    monkeypatch.setattr(partitions, "_DROP_PAUSE_S", 0)
    store(sensor, [(noon(5), 2.0)])
    rollups.run()
    settings.TELEMETRY_RETENTION_DAYS = 3
    reading, done = threading.Event(), threading.Event()

    def read_for_long():
        try:
            with transaction.atomic():
                list(Reading.objects.all())
                reading.set()
                done.wait(30)
        finally:
            connections.close_all()

    thread = threading.Thread(target=read_for_long)
    thread.start()
    reading.wait(30)
    assert partitions.drop_expired() == []
    done.set()
    thread.join()

    assert "stays until" in caplog.text
    assert noon(5).date() in partitions.drop_expired()


@pytest.mark.django_db
def test_one_failing_step_of_the_housekeeping_holds_up_no_other(monkeypatch, caplog):
    def fail():
        message = "no such luck"
        raise ValueError(message)

    caplog.set_level("INFO")
    monkeypatch.setattr(partitions, "ensure_ahead", fail)

    tasks.housekeeping()

    assert "made=failed" in caplog.text
    assert "partitions_of_rollups=0" in caplog.text


def test_partitions_are_named_and_bounded_by_their_unit():
    day = datetime(2026, 12, 31, tzinfo=UTC).date()

    assert MINUTES.name_of(day) == "telemetry_rollup_1m_202612"
    assert MINUTES.first_of(day) == day.replace(day=1)
    assert MINUTES.next_of(day) == day + timedelta(days=1)
    assert HOURS.name_of(day) == "telemetry_rollup_1h_2026"
    assert DAYS.next_of(day) == day + timedelta(days=1)
    assert partitions.READINGS.next_of(day) == day + timedelta(days=1)
