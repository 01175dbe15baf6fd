"""What messages say about a device being there."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.devices.models import Datalogger, Gateway, PresencePeriod
from apps.devices.services import check_presence
from apps.sites.models import MqttConnection, Status
from apps.telemetry.facts import Heartbeat, Output
from apps.telemetry.tests.batches import BEHIND, GATEWAY, MONSTRO, Feed, moment


@pytest.fixture
def feed(north) -> Feed:
    feed = Feed(north)
    MqttConnection.objects.filter(site=north).update(
        status=Status.CONNECTED,
        last_connected_at=timezone.now() - timedelta(hours=1),
    )
    return feed


def monstro() -> Datalogger:
    return Datalogger.objects.get(type="monstro", number="15")


def periods() -> list[tuple[str, bool]]:
    """Return (presence, is open) of the datalogger's periods; they tile its time."""
    rows = list(PresencePeriod.objects.filter(datalogger=monstro()).order_by("id"))
    for earlier, later in itertools.pairwise(rows):
        assert earlier.ended_at == later.started_at
    for row in rows:
        assert row.ended_at is None or row.ended_at >= row.started_at
    if rows:
        assert rows[-1].started_at == monstro().presence_since
        assert rows[-1].presence == monstro().presence
    return [(row.presence, row.ended_at is None) for row in rows]


# -- being heard ---------------------------------------------------------------


def test_a_heartbeat_makes_online_and_moves_the_deadline(feed):
    entry = feed.heartbeat(interval_s=40)
    feed.write(entry)

    datalogger = monstro()
    at = moment(entry.message.received_us)
    assert datalogger.is_online
    assert datalogger.last_seen_at == at
    assert datalogger.presence_since >= at  # not before its row was made
    assert datalogger.offline_after == at + timedelta(seconds=60)
    assert periods() == [("online", True)]


def test_without_a_promise_the_deadline_is_ninety_seconds(feed):
    entry = feed.data(1)
    feed.write(entry)

    after = moment(entry.message.received_us) + timedelta(seconds=90)
    assert monstro().offline_after == after


def test_a_promise_holds_for_the_messages_after_it(feed):
    feed.write(feed.heartbeat(interval_s=10))
    entry = feed.data(1)
    feed.write(entry)

    after = moment(entry.message.received_us) + timedelta(seconds=15)
    assert monstro().offline_after == after
    assert monstro().interval_s == 10


def test_a_heartbeat_fills_in_what_it_says_and_keeps_the_rest(feed):
    feed.write(
        feed.heartbeat(
            serial="S1", label="Roof", firmware="1.0", uptime_s=5, rssi=-60.5, battery=3
        )
    )
    feed.write(feed.heartbeat(firmware="1.1", uptime_s=2**62))

    datalogger = monstro()
    assert datalogger.serial_number == "S1"
    assert datalogger.label == "Roof"
    assert datalogger.firmware_version == "1.1"
    assert datalogger.uptime_s == 2**62
    assert (datalogger.rssi, datalogger.battery) == (-60.5, 3.0)


def test_a_label_that_people_gave_is_not_overwritten(feed):
    feed.write(feed.heartbeat())
    Datalogger.objects.update(label="By the door")

    feed.write(feed.heartbeat(label="factory name"))

    assert monstro().label == "By the door"


def test_fields_of_several_heartbeats_of_one_batch_are_put_together(feed):
    feed.write(
        feed.heartbeat(serial="S1", firmware="1.0"),
        feed.heartbeat(firmware="1.1"),
        feed.heartbeat(),
    )

    assert (monstro().serial_number, monstro().firmware_version) == ("S1", "1.1")


def test_an_answer_to_a_command_is_being_heard(feed):
    feed.write(feed.entry(Output(BEHIND)))

    assert monstro().is_online


def test_what_a_gateway_passes_on_shows_that_it_lives(feed):
    entry = feed.data(1, device=BEHIND)
    feed.write(entry)

    gateway = Gateway.objects.get()
    assert gateway.is_online
    assert gateway.last_seen_at == moment(entry.message.received_us)
    assert monstro().gateway == gateway


def test_a_bad_message_says_nothing_about_anybody(feed):
    feed.write(feed.bad())

    assert not Datalogger.objects.exists()


# -- saying so itself ----------------------------------------------------------


def test_a_will_is_offline_at_once(feed):
    feed.write(feed.heartbeat())
    seen = monstro().last_seen_at

    written = feed.write(feed.status(online=False))

    assert monstro().presence == "offline"
    assert monstro().last_seen_at == seen  # the broker said it, nobody saw the device
    assert [change.presence for change in written.presence] == ["offline"]
    assert periods() == [("online", False), ("offline", True)]


def test_a_birth_is_online_at_once(feed):
    feed.write(feed.status(online=False), feed.status(online=True))

    assert monstro().is_online


def test_a_heartbeat_after_a_will_is_online_again(feed):
    feed.write(feed.heartbeat())
    feed.write(feed.status(online=False))

    feed.write(feed.heartbeat())

    assert periods() == [("online", False), ("offline", False), ("online", True)]


def test_a_dataloggers_will_says_nothing_about_its_gateway(feed):
    feed.write(feed.status(online=False, device=BEHIND))

    assert Gateway.objects.get().presence == "unknown"


def test_a_gateways_own_words_are_about_the_gateway_only(feed):
    feed.write(feed.status(online=False, device=GATEWAY))
    feed.write(feed.heartbeat(GATEWAY, serial="G1"))

    gateway = Gateway.objects.get()
    assert (gateway.presence, gateway.serial_number) == ("online", "G1")
    assert not Datalogger.objects.exists()


# -- retained ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["data", "heartbeat", "birth", "will"])
def test_a_retained_message_never_refreshes_presence(feed, kind):
    entry = {
        "data": lambda: feed.data(1, retain=True),
        "heartbeat": lambda: feed.heartbeat(serial="S1", retain=True),
        "birth": lambda: feed.status(online=True, retain=True),
        "will": lambda: feed.status(online=False, retain=True),
    }[kind]()

    written = feed.write(entry)

    datalogger = monstro()
    assert datalogger.presence == "unknown"
    assert datalogger.last_seen_at is None
    assert datalogger.offline_after is None
    assert written.presence == []
    assert periods() == []


def test_a_retained_heartbeat_still_says_who_the_device_is(feed):
    feed.write(feed.heartbeat(serial="S1", retain=True))

    assert monstro().serial_number == "S1"


def test_a_retained_message_behind_a_gateway_does_not_refresh_the_gateway(feed):
    feed.write(feed.data(1, device=BEHIND, retain=True))

    assert Gateway.objects.get().presence == "unknown"


# -- changes -------------------------------------------------------------------


def test_only_changes_of_presence_are_told(feed):
    first = feed.write(feed.heartbeat())
    second = feed.write(feed.heartbeat(), feed.data(1))

    assert [(c.kind, c.presence) for c in first.presence] == [("datalogger", "online")]
    assert second.presence == []
    assert periods() == [("online", True)]


def test_going_and_coming_back_within_a_batch_is_no_change(feed):
    feed.write(feed.heartbeat())

    written = feed.write(feed.status(online=False), feed.heartbeat())

    assert written.presence == []
    assert periods() == [("online", True)]


def test_a_message_that_waited_does_not_overlap_what_the_check_said_meanwhile(feed):
    """The database was away; the batch is older than the `offline` of the check."""
    feed.write(feed.heartbeat(interval_s=1))
    waited = feed.heartbeat()
    assert check_presence(timezone.now()) == 1

    feed.write(waited)

    assert monstro().is_online
    assert periods() == [("online", False), ("offline", False), ("online", True)]


def test_a_change_is_told_also_when_its_message_waited(feed):
    feed.write(feed.heartbeat(interval_s=1))
    waited = feed.heartbeat()
    check_presence(timezone.now())

    written = feed.write(waited)

    assert [change.presence for change in written.presence] == ["online"]


def test_periods_tile_the_time_whatever_happens(feed):
    import random

    chance = random.Random(3)
    for _ in range(60):
        entries = [
            chance.choice(
                [
                    feed.heartbeat,
                    lambda: feed.status(online=False),
                    lambda: feed.status(online=True),
                    lambda: feed.data(1),
                ]
            )()
            for _ in range(chance.randrange(1, 4))
        ]
        if chance.random() < 0.3:
            MqttConnection.objects.update(
                status=chance.choice([Status.CONNECTED, Status.ERROR])
            )
        if chance.random() < 0.5:
            late = chance.choice([0, 30, 500])
            check_presence(timezone.now() + timedelta(seconds=late - 60))
        feed.write(*entries)
        found = periods()
        assert [is_open for _, is_open in found].count(True) <= 1
        assert all(
            earlier != later for (earlier, _), (later, _) in itertools.pairwise(found)
        )


def test_the_seen_time_never_goes_back(feed):
    late, new = feed.heartbeat(), feed.heartbeat()

    feed.write(new)
    feed.write(late)

    assert monstro().last_seen_at == moment(new.message.received_us)


def test_a_device_ref_of_a_gateway_and_of_a_datalogger_do_not_mix(feed):
    feed.write(
        feed.entry(Heartbeat(GATEWAY, serial="G")),
        feed.entry(Heartbeat(MONSTRO._replace(number="gw7"), serial="D")),
    )

    assert Gateway.objects.get().serial_number == "G"
    assert Datalogger.objects.get().serial_number == "D"
