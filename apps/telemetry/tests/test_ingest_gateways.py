"""A gateway that says goodbye takes its dataloggers along."""

from __future__ import annotations

import itertools
from datetime import timedelta
from random import Random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.devices.models import Datalogger, Gateway, PresencePeriod
from apps.devices.services import check_presence
from apps.sites.models import MqttConnection, Status
from apps.telemetry.facts import DeviceRef
from apps.telemetry.tests.batches import BEHIND, GATEWAY, MONSTRO, Feed, moment


@pytest.fixture
def feed(north) -> Feed:
    return Feed(north)


def behind(number: str, gateway: str = "gw7") -> DeviceRef:
    return DeviceRef(gateway=gateway, type="monstro", number=number)


def states() -> dict[str, tuple[str, str]]:
    """Return (presence, cause) by number, checked against the open periods."""
    rows = list(Datalogger.objects.all())
    for row in [*rows, *Gateway.objects.all()]:
        assert bool(row.offline_cause) == (row.presence == "offline")
    for row in rows:
        periods = list(PresencePeriod.objects.filter(datalogger=row).order_by("id"))
        for earlier, later in itertools.pairwise(periods):
            assert earlier.ended_at == later.started_at
            assert earlier.presence != later.presence
        if periods:
            newest = periods[-1]
            assert newest.ended_at is None
            assert (newest.presence, newest.cause, newest.started_at) == (
                row.presence,
                row.offline_cause,
                row.presence_since,
            )
    return {row.number: (row.presence, row.offline_cause) for row in rows}


def gateway() -> tuple[str, str]:
    row = Gateway.objects.get(number="gw7")
    return row.presence, row.offline_cause


def test_a_gateways_will_takes_its_dataloggers_along(feed):
    feed.write(feed.data(1, device=behind("1")), feed.data(1, device=behind("2")))
    will = feed.status(online=False, device=GATEWAY)

    written = feed.write(will)

    assert gateway() == ("offline", "will")
    assert states() == {"1": ("offline", "gateway"), "2": ("offline", "gateway")}
    assert Datalogger.objects.get(number="1").presence_since >= moment(
        will.message.received_us
    )
    assert sorted((c.kind, c.presence, c.cause) for c in written.presence) == [
        ("datalogger", "offline", "gateway"),
        ("datalogger", "offline", "gateway"),
        ("gateway", "offline", "will"),
    ]


def test_the_dataloggers_of_others_stay(feed):
    feed.write(
        feed.data(1, device=behind("1")),
        feed.data(1, device=behind("2", "gw8")),
        feed.data(1, device=MONSTRO._replace(number="3")),
    )

    feed.write(feed.status(online=False, device=GATEWAY))

    assert states() == {
        "1": ("offline", "gateway"),
        "2": ("online", ""),
        "3": ("online", ""),
    }


def test_what_came_before_the_will_in_its_batch_goes_along(feed):
    feed.write(
        feed.data(1, device=behind("1")), feed.status(online=False, device=GATEWAY)
    )

    assert gateway() == ("offline", "will")
    assert states() == {"1": ("offline", "gateway")}


def test_what_comes_after_the_will_in_its_batch_wins(feed):
    feed.write(feed.data(1, device=behind("1")), feed.data(1, device=behind("2")))

    feed.write(
        feed.status(online=False, device=GATEWAY), feed.data(1, device=behind("1"))
    )

    assert gateway() == ("online", "")
    assert states() == {"1": ("online", ""), "2": ("online", "")}


def test_a_datalogger_heard_after_the_will_has_another_way(feed):
    feed.write(feed.data(1, device=BEHIND))

    feed.write(feed.status(online=False, device=GATEWAY), feed.data(1, device=MONSTRO))

    assert gateway() == ("offline", "will")
    assert states() == {"15": ("online", "")}


def test_coming_and_going_within_a_batch_leaves_nobody_online(feed):
    feed.write(feed.data(1, device=behind("1")))
    feed.write(feed.status(online=False, device=GATEWAY))

    feed.write(
        feed.data(1, device=behind("1")), feed.status(online=False, device=GATEWAY)
    )

    assert gateway() == ("offline", "will")
    assert states() == {"1": ("offline", "gateway")}


def test_a_second_will_does_not_take_who_found_another_way(feed):
    feed.write(feed.data(1, device=BEHIND))
    feed.write(feed.status(online=False, device=GATEWAY))
    feed.write(feed.data(1, device=MONSTRO))

    written = feed.write(feed.status(online=False, device=GATEWAY))

    assert states() == {"15": ("online", "")}
    assert written.presence == []


def test_a_gateway_that_comes_back_turns_nobody_online(feed):
    feed.write(feed.data(1, device=BEHIND))
    feed.write(feed.status(online=False, device=GATEWAY))

    feed.write(feed.status(online=True, device=GATEWAY))

    assert gateway() == ("online", "")
    assert states() == {"15": ("offline", "gateway")}


def test_the_next_message_of_a_datalogger_proves_both_alive(feed):
    feed.write(feed.data(1, device=BEHIND))
    feed.write(feed.status(online=False, device=GATEWAY))

    feed.write(feed.data(1, device=BEHIND))

    assert gateway() == ("online", "")
    assert states() == {"15": ("online", "")}


def test_a_datalogger_that_was_never_heard_stays_unknown(feed):
    feed.write(feed.data(1, device=BEHIND, retain=True))
    feed.write(feed.status(online=True, device=GATEWAY))

    feed.write(feed.status(online=False, device=GATEWAY))

    assert states() == {"15": ("unknown", "")}


def test_a_retained_will_of_a_gateway_takes_nobody(feed):
    feed.write(feed.data(1, device=BEHIND))

    feed.write(feed.status(online=False, device=GATEWAY, retain=True))

    assert gateway() == ("online", "")
    assert states() == {"15": ("online", "")}


def test_its_own_will_stays_the_cause_when_the_gateway_follows(feed):
    feed.write(feed.data(1, device=BEHIND))
    feed.write(feed.status(online=False, device=BEHIND))

    feed.write(feed.status(online=False, device=GATEWAY))

    assert states() == {"15": ("offline", "will")}


def test_a_will_costs_the_same_whatever_it_takes_along(feed):
    counts = set()
    for size in (3, 60):
        feed.write(*[feed.data(1, device=behind(str(n))) for n in range(size)])
        with CaptureQueriesContext(
            connection,
        ) as queries:
            feed.write(feed.status(online=False, device=GATEWAY))
        assert set(states().values()) == {("offline", "gateway")}
        counts.add(len(queries))

    assert len(counts) == 1


@pytest.mark.parametrize("seed", range(3))
def test_rows_causes_and_periods_agree_whatever_happens(feed, seed):
    chance = Random(seed)

    def device() -> DeviceRef:
        return chance.choice([BEHIND, MONSTRO, GATEWAY, behind("1"), behind("2", "g2")])

    def data(seconds: int):
        said = chance.choice([BEHIND, MONSTRO, behind("1"), behind("2", "g2")])
        return feed.data(1, at=feed.clock_us - seconds * 1_000_000, device=said)

    for _ in range(40):
        entries = [
            chance.choice(
                [
                    lambda: feed.heartbeat(device(), interval_s=chance.choice([1, 90])),
                    lambda: feed.status(online=False, device=device()),
                    lambda: feed.status(online=True, device=device()),
                    lambda: data(chance.choice([0, 2, 100, 5_000])),
                ]
            )()
            for _ in range(chance.randrange(1, 5))
        ]
        if chance.random() < 0.3:
            MqttConnection.objects.update(
                status=chance.choice([Status.CONNECTED, Status.ERROR]),
                status_changed_at=timezone.now() - timedelta(seconds=30),
                last_connected_at=timezone.now() - timedelta(seconds=90),
            )
        if chance.random() < 0.5:
            late = timedelta(seconds=chance.choice([-60, 0, 400]))
            check_presence(timezone.now() + late)
            states()
        feed.write(*entries)
        states()
