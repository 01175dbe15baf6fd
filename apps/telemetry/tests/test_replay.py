"""The quarantine read again: what is understood now is stored once, at its own time."""

from __future__ import annotations

import io
import json
import threading
from datetime import UTC, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, connection
from django.utils import timezone

from apps.core import events
from apps.devices.models import (
    Datalogger,
    Gateway,
    Presence,
    PresencePeriod,
    SensorDevice,
)
from apps.sites.services import site_delete
from apps.telemetry import quarantine
from apps.telemetry import replay as replay_module
from apps.telemetry.facts import Entry
from apps.telemetry.mappings import mapping_create, mapping_update
from apps.telemetry.models import QuarantinedMessage, Reading, ReadingFlag
from apps.telemetry.protocols.decode import decode
from apps.telemetry.replay import Replayed, replay
from apps.telemetry.rules import site_rules
from apps.telemetry.tests.batches import SECOND_US, Feed, moment, values

DATA = "datalogger/monstro/15/data"
VALUES = [
    {"path": "$.data.t", "key": "t", "label": "Outside", "unit": "°C"},
    {"path": "$.data.h", "key": "h"},
]


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def arrive(
    feed: Feed, body: Any, topic: str = DATA, **but: Any
) -> QuarantinedMessage | None:
    """Let a message in by today's rules; return its row if it is quarantined."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = feed.message(payload, topic=f"{feed.site.code}/{topic}".encode(), **but)
    fact = decode(
        feed.site.code,
        message.topic,
        payload,
        received_us=message.received_us,
        zone=UTC,
        rules=site_rules(feed.site.pk),
    )
    feed.write(Entry(message, fact))
    return QuarantinedMessage.objects.filter(
        received_at=moment(message.received_us)
    ).first()


def learn(feed: Feed, version: int = 7, **more: Any) -> None:
    mapping_create(feed.site, version=version, values=VALUES, ts_path="$.at", **more)


# -- what must be shown --------------------------------------------------------


def test_after_a_mapping_its_readings_are_there_once_at_the_right_times(feed):
    timed_us = feed.clock_us - 600 * SECOND_US
    arrive(feed, {"v": 7, "at": timed_us, "data": {"t": 21.5, "h": 40}})
    untimed = arrive(feed, {"v": 7, "data": {"t": 22.5}})
    assert values() == []
    assert feed.counters == (2, 0, 0, 2, 0)
    learn(feed)

    first, second = replay(feed.site), replay(feed.site)

    assert (first, second) == (Replayed(replayed=2), Replayed())
    rows = Reading.objects.order_by("measured_at", "value")
    assert untimed is not None
    assert [(r.value, r.measured_at, r.flags) for r in rows] == [
        (21.5, moment(timed_us), ReadingFlag.NONE),
        (40.0, moment(timed_us), ReadingFlag.NONE),
        (22.5, untimed.received_at, ReadingFlag.RECEIPT_TIME),
    ]
    sensor = SensorDevice.objects.get(key="t")
    assert (sensor.label, sensor.unit_of_measure) == ("Outside", "°C")
    assert (sensor.current_value, sensor.current_at) == (22.5, untimed.received_at)
    assert feed.counters == (2, 2, 0, 0, 0)


def test_what_came_before_the_mapping_and_after_it_is_one_history(feed):
    at = feed.clock_us // SECOND_US
    arrive(feed, {"v": 7, "at": at - 60, "data": {"t": 1}})
    learn(feed)
    arrive(feed, {"v": 7, "at": at - 30, "data": {"t": 2}})

    replay(feed.site)

    assert values() == [1.0, 2.0]
    assert SensorDevice.objects.get(key="t").current_value == 2.0  # never back


def test_a_reading_that_came_again_meanwhile_is_a_duplicate(feed):
    body = {"v": 7, "at": feed.clock_us // SECOND_US, "data": {"t": 1}}
    arrive(feed, body)
    learn(feed)
    arrive(feed, body)

    result = replay(feed.site)

    assert result == Replayed(replayed=1)
    assert values() == [1.0]
    assert feed.counters == (2, 1, 1, 0, 0)


# -- devices -------------------------------------------------------------------


def test_a_replay_shows_nothing_about_the_present(feed):
    gateway_data = "gateway/gw7/datalogger/monstro/15/data"
    arrive(feed, {"v": 7, "data": {"t": 1}}, gateway_data)
    learn(feed)

    replay(feed.site)

    datalogger = Datalogger.objects.get()
    assert (datalogger.presence, datalogger.last_seen_at) == (Presence.UNKNOWN, None)
    assert datalogger.offline_after is None
    assert (datalogger.gateway, Gateway.objects.get().last_seen_at) == (
        Gateway.objects.get(),
        None,
    )
    assert not PresencePeriod.objects.exists()


def test_a_device_that_is_offline_stays_so(feed):
    feed.write(feed.status(online=True))
    arrive(feed, {"v": 7, "data": {"t": 1}})
    feed.write(feed.status(online=False))
    before = Datalogger.objects.values().get()
    learn(feed)

    replay(feed.site)

    assert Datalogger.objects.values().get() == before


def test_what_an_old_heartbeat_says_fills_what_is_empty_and_changes_nothing(feed):
    heartbeat = "datalogger/monstro/15/heartbeat"
    row = arrive(feed, {"serial": "OLD", "label": "old", "rssi": "loud"}, heartbeat)
    arrive(feed, {"serial": "NEW", "firmware": "2"}, heartbeat)
    assert row is not None
    # As if a decoder that understands it had come with an update:
    row.payload = b'{"serial": "OLD", "label": "old", "firmware": "1", "rssi": -3}'
    row.payload_size = len(row.payload)
    row.save()

    result = replay(feed.site)

    found = Datalogger.objects.get()
    assert result.replayed == 1
    assert (found.serial_number, found.label) == ("NEW", "old")
    assert (found.firmware_version, found.rssi) == ("2", None)


def test_a_datalogger_that_was_deleted_comes_back_with_its_readings(feed):
    arrive(feed, {"v": 7, "data": {"t": 1}})
    feed.write(feed.data(5))
    learn(feed)
    Datalogger.objects.all().delete()

    assert replay(feed.site).replayed == 1

    assert Datalogger.objects.get().sensors.get(key="t").current_value == 1.0


def test_a_device_deleted_while_a_replay_runs_is_made_anew(feed, monkeypatch):
    arrive(feed, {"v": 7, "data": {"t": 1}})
    learn(feed)
    real, calls = replay_module.store, []

    def store(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise replay_module.MissingRowError
        return real(*args, **options)

    monkeypatch.setattr(replay_module, "store", store)

    assert replay(feed.site).replayed == 1
    assert values() == [1.0]


# -- what stays ----------------------------------------------------------------


def test_what_is_still_not_understood_keeps_its_row_with_the_present_reason(feed):
    row = arrive(feed, {"v": 7, "other": 1})
    assert row is not None
    assert row.reason == "unknown_version"
    learn(feed)

    result = replay(feed.site)

    row.refresh_from_db()
    assert result == Replayed(still_quarantined=1)
    assert (row.reason, row.replayed_at) == ("schema_mismatch", None)
    assert "mapping" in row.detail
    assert feed.counters == (1, 0, 0, 1, 0)


def test_it_is_understood_once_the_mapping_is_right(feed):
    arrive(feed, {"v": 7, "other": 1})
    learn(feed)
    replay(feed.site)
    mapping_update(
        feed.site.mappings.get(), fields={"values": [{"path": "$.other", "key": "t"}]}
    )

    assert replay(feed.site).replayed == 1
    assert values() == [1.0]


def test_a_payload_that_was_cut_is_skipped(feed):
    long = {"v": 7, "data": {"t": 1}, "x": "x" * 70_000}
    row = arrive(feed, long)
    learn(feed)

    assert replay(feed.site) == Replayed(skipped=1)
    assert row is not None
    row.refresh_from_db()
    assert row.replayed_at is None


def test_a_topic_that_is_no_text_is_skipped(feed):
    arrive(feed, b"1", topic="\\xff")  # the escaped form is a topic of its own
    feed.write(feed.bad("topic_invalid", topic=b"\xff"))

    assert replay(feed.site) == Replayed(skipped=1)


def test_a_topic_of_the_sites_former_code_stays(feed):
    row = arrive(feed, {"v": 7, "data": {"t": 1}})
    learn(feed)
    feed.site.code = "elsewhere"
    feed.site.save()

    assert replay(feed.site) == Replayed(still_quarantined=1)
    assert row is not None
    row.refresh_from_db()
    assert row.detail == "no decoder claims the topic"


def test_the_message_that_the_database_refuses_stays_alone(feed, monkeypatch):
    for number in range(7):
        arrive(feed, {"v": 7, "data": {"t": number}})
    learn(feed)
    real = replay_module.store

    def store(entries: list[Entry], *args: Any, **options: Any) -> Any:
        if any(b'"t": 4' in entry.message.payload for entry in entries):
            message = "no\0 thanks"
            raise DataError(message)
        return real(entries, *args, **options)

    monkeypatch.setattr(replay_module, "store", store)

    assert replay(feed.site) == Replayed(replayed=6, still_quarantined=1)
    assert values() == [0.0, 1.0, 2.0, 3.0, 5.0, 6.0]
    left = QuarantinedMessage.objects.get(replayed_at=None)
    assert (left.reason, left.detail) == ("data_error", "DataError: no\\x00 thanks")


def test_only_what_was_asked_for_is_replayed(feed):
    rows = [arrive(feed, {"v": 7, "data": {"t": number}}) for number in range(3)]
    arrive(feed, b"not json")
    learn(feed)
    ids = [row.pk for row in rows if row is not None]

    assert replay(feed.site, ids=[ids[0], ids[0], 2**62]) == Replayed(1, 0, 1)
    assert replay(feed.site, reason="json_invalid") == Replayed(still_quarantined=1)
    assert replay(feed.site, reason="unknown_version", is_dry_run=True).replayed == 2
    assert values() == [0.0]


def test_another_sites_messages_are_not_touched(feed, hidden):
    arrive(feed, {"v": 7, "data": {"t": 1}})
    learn(feed)

    assert replay(hidden) == Replayed()


def test_big_payloads_are_read_in_small_chunks(feed):
    padding = "x" * 60_000
    for number in range(40):
        arrive(feed, {"v": 7, "data": {"t": number}, "x": padding})
    learn(feed)
    seen: list[int] = []

    result = replay(feed.site, progress=seen.append)

    assert result == Replayed(replayed=40)
    assert len(seen) == 2
    assert sum(seen) == 40


def test_a_retained_message_is_a_current_value_and_no_history(feed):
    arrive(feed, {"v": 7, "data": {"t": 1}}, retain=True)
    learn(feed)

    assert replay(feed.site).replayed == 1
    assert values() == []
    assert SensorDevice.objects.get(key="t").current_value == 1.0


def test_counters_that_were_made_anew_stay_as_they_are(feed):
    arrive(feed, {"v": 7, "data": {"t": 1}})
    feed.connection.stats.delete()
    feed.write(feed.heartbeat())
    learn(feed)

    replay(feed.site)

    assert feed.counters == (1, 1, 0, 0, 0)


def test_open_pages_are_told_once(
    feed, monkeypatch, django_capture_on_commit_callbacks
):
    told: list[tuple[list[str], str]] = []
    monkeypatch.setattr(
        events, "emit", lambda channels, event, _: told.append(([*channels], event))
    )
    arrive(feed, {"v": 7, "data": {"t": 1}})
    learn(feed)

    with django_capture_on_commit_callbacks(execute=True):
        replay(feed.site)
        replay(feed.site)

    assert told == [([f"site-{feed.site.pk}"], "resync")]


# -- two at once ---------------------------------------------------------------


@pytest.fixture
def committed(transactional_db: None, north) -> Feed:
    return Feed(north)


@pytest.mark.django_db(transaction=True)
def test_two_replays_at_once_store_everything_once(committed):
    feed = committed
    for number in range(30):
        arrive(feed, {"v": 7, "data": {"t": number}})
    learn(feed)
    barrier = threading.Barrier(2)
    results: list[Replayed] = []

    def run() -> None:
        try:
            barrier.wait()
            results.append(replay(feed.site))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(result.replayed for result in results) == 30
    assert values() == [float(number) for number in range(30)]
    assert feed.counters == (30, 30, 0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_replay_and_the_ingest_at_once_lose_nothing(committed):
    feed = committed
    for number in range(60):
        arrive(feed, {"v": 7, "data": {"t": number}})
    learn(feed)
    entries = [feed.data(1000 + number) for number in range(60)]

    def run() -> None:
        try:
            replay(feed.site)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    for entry in entries:
        feed.write(entry)
    thread.join()

    assert len(values()) == 120
    assert feed.counters == (120, 120, 0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_site_deleted_meanwhile_ends_the_replay(committed):
    feed = committed
    arrive(feed, {"v": 7, "data": {"t": 1}})
    learn(feed)
    site = type(feed.site).objects.get(pk=feed.site.pk)
    site_delete(feed.site)

    assert replay(site) == Replayed()


# -- the command ---------------------------------------------------------------


def run_command(*args: object) -> str:
    out = io.StringIO()
    call_command("replay_quarantine", *map(str, args), stdout=out, stderr=out)
    return out.getvalue()


def test_the_command_says_what_became_of_the_messages(feed, hidden):
    row = arrive(feed, {"v": 7, "data": {"t": 1}})
    arrive(feed, b"not json")
    learn(feed)
    assert row is not None

    dry = run_command("--dry-run")
    elsewhere = run_command("--site", hidden.code)
    one = run_command("--ids", row.pk, 2**62)
    rest = run_command("--site", feed.site.pk, "--reason", "json_invalid")

    assert dry == "1 would be replayed, 1 still quarantined, 0 skipped\n"
    assert elsewhere == "0 replayed, 0 still quarantined, 0 skipped\n"
    assert one == "1 replayed, 0 still quarantined, 1 skipped\n"
    assert rest == "0 replayed, 1 still quarantined, 0 skipped\n"


@pytest.mark.parametrize(
    "args",
    [
        ("--site", "nowhere"),
        ("--site", 10**30),
        ("--ids", 0),
        ("--ids", 2**63),
        ("--reason", "mood"),
    ],
)
def test_the_command_refuses_what_is_not_there(args, db):
    with pytest.raises(CommandError):
        run_command(*args)


# -- housekeeping --------------------------------------------------------------


def test_what_was_replayed_leaves_after_a_day(feed):
    rows = [arrive(feed, b"not json") for _ in range(3)]
    kept = [row for row in rows if row is not None]
    now = timezone.now()
    for row, hours in zip(kept, (None, 23, 25), strict=True):
        row.replayed_at = now - timedelta(hours=hours) if hours else None
        row.save()

    assert quarantine.prune() == 1
    assert set(QuarantinedMessage.objects.all()) == set(kept[:2])
