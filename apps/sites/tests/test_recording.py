"""What workers reported goes into the row, in its order, and never back."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.core.redis import client, report_key
from apps.sites import reports
from apps.sites.models import ConnectionEvent, MqttConnection, Status
from apps.sites.recording import record, record_reports
from apps.sites.reports import Report
from apps.sites.services import connection_start, connection_stop
from apps.sites.tests.builders import configured, report_on, running


def test_a_report_is_written_with_all_that_it_says(north):
    row = configured(north)
    connection_start(north)
    now = timezone.now()

    was_news = record(
        report_on(
            row,
            status=Status.ERROR,
            reason="auth",
            detail="Not authorized",
            at=now,
            errors=4,
            retry_count=3,
            next_retry_at=now + timedelta(minutes=5),
            topics=(),
        )
    )

    row.refresh_from_db()
    assert was_news
    assert (row.status, row.reason) == ("error", "auth")
    assert row.error_message == "Not authorized"
    assert row.last_heartbeat_at == now
    assert row.connection_errors == 4
    assert row.mqtt_retry_count == 3
    assert row.mqtt_next_retry == now + timedelta(minutes=5)
    assert row.subscribed_topics == []
    assert row.owner == "mqtt@here"


def test_the_time_of_the_last_connect_outlives_an_error(north):
    row = running(north)
    connected_at = row.last_connected_at

    record(report_on(row, status=Status.ERROR, reason="lost"))

    row.refresh_from_db()
    assert connected_at is not None
    assert row.last_connected_at == connected_at


@pytest.mark.parametrize(
    "older",
    [
        {"epoch": -1, "seq": 99},
        {"seq": -1},
        {"generation": -1},
    ],
)
def test_an_older_report_changes_nothing(north, older):
    row = running(north)
    newest = report_on(row, status=Status.ERROR, reason="lost", detail="first")
    record(newest)
    late = replace(
        newest,
        status=Status.CONNECTED,
        reason="",
        epoch=newest.epoch + older.get("epoch", 0),
        seq=newest.seq + older.get("seq", 1),
        generation=newest.generation + older.get("generation", 0),
    )

    assert not record(late)

    row.refresh_from_db()
    assert (row.status, row.error_message) == ("error", "first")
    assert row.report_seq == newest.seq


def test_a_new_owners_first_report_counts_whatever_its_number(north):
    row = running(north)
    for _ in range(5):
        record(report_on(row))

    new = replace(report_on(row, status=Status.ERROR, reason="dns"), seq=1)
    assert record(replace(new, epoch=new.epoch + 1))

    row.refresh_from_db()
    assert row.status == Status.ERROR


def test_the_same_report_twice_is_one_event(north):
    row = running(north)
    report = report_on(row, status=Status.ERROR, reason="lost")
    before = ConnectionEvent.objects.count()

    record(report)
    record(report)

    assert ConnectionEvent.objects.count() == before + 1


def test_another_reason_for_the_same_status_is_an_event(north):
    row = running(north)
    record(report_on(row, status=Status.ERROR, reason="dns"))

    record(report_on(row, status=Status.ERROR, reason="auth"))

    last = ConnectionEvent.objects.filter(connection=row).latest("id")
    assert (last.old_status, last.new_status, last.reason) == ("error", "error", "auth")


def test_a_report_from_before_the_stop_does_not_turn_the_badge_back(north):
    row = running(north)
    late = report_on(row)
    connection_stop(north)

    assert not record(late)

    row.refresh_from_db()
    assert row.status == Status.DISABLED


def test_a_report_on_a_removed_connection_is_nothing(north):
    row = running(north)
    report = report_on(row)
    north.delete()

    assert not record(report)


def test_the_newest_report_of_each_connection_is_read_from_redis(north, hidden):
    rows = [running(north), running(hidden)]
    reports.store(report_on(row, status=Status.ERROR, reason="lost") for row in rows)

    assert record_reports([row.pk for row in rows] + [999_999]) == 2

    for row in rows:
        row.refresh_from_db()
        assert row.status == Status.ERROR


@pytest.mark.django_db(transaction=True)
def test_two_recorders_at_once_write_their_events_in_order(north):
    row = running(north)
    first = report_on(row, status=Status.ERROR, reason="lost")
    second = replace(first, status=Status.CONNECTED, reason="", seq=first.seq + 1)
    holds, may_commit = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            record(first)
            holds.set()
            may_commit.wait(10)
        connection.close()

    def quick() -> None:
        record(second)
        connection.close()

    threads = [threading.Thread(target=slow), threading.Thread(target=quick)]
    threads[0].start()
    assert holds.wait(10)
    threads[1].start()
    threads[1].join(timeout=0.3)
    assert threads[1].is_alive()  # it waits for the row
    may_commit.set()
    for thread in threads:
        thread.join(timeout=10)

    statuses = [
        (event.old_status, event.new_status)
        for event in ConnectionEvent.objects.filter(connection=row).order_by("id")
    ]
    assert statuses[-2:] == [("connected", "error"), ("error", "connected")]
    assert MqttConnection.objects.get(pk=row.pk).report_seq == second.seq


def test_an_older_owners_report_is_refused_by_redis_and_the_others_are_not(
    north, hidden
):
    """It was frozen while the new owner took over and spoke; now it wakes."""
    moved, kept = (report_on(running(site)) for site in (north, hidden))
    reports.store([replace(moved, epoch=moved.epoch + 1, owner="new")])

    refused = reports.store([moved, kept])

    assert refused == {moved.connection_id}
    found = reports.load([moved.connection_id, kept.connection_id])
    assert found[moved.connection_id].owner == "new"
    assert found[kept.connection_id] == kept


def test_the_owners_next_report_takes_the_place_of_its_last(north):
    report = report_on(running(north))
    reports.store([report])

    assert reports.store([replace(report, seq=report.seq + 1)]) == set()
    assert reports.load([report.connection_id])[report.connection_id].seq == (
        report.seq + 1
    )


@pytest.mark.parametrize("known", ["no JSON", "[]", '{"epoch": "x"}', "{}"])
def test_what_is_no_report_is_written_over(north, known):
    report = report_on(running(north))
    client().set(report_key(report.connection_id), known)

    assert reports.store([report]) == set()
    assert reports.load([report.connection_id])


def test_a_report_of_a_newer_version_is_understood(north):
    report = report_on(running(north))
    said = json.loads(report.to_json()) | {"invented_later": 7}

    assert Report.from_json(json.dumps(said)) == report
