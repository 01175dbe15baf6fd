"""Many retained messages are fetched once more at QoS 0, beside the main link."""

from __future__ import annotations

import time
from typing import cast

import pytest

from workers.link import Link
from workers.pahoclient import Publish
from workers.retained import MANY, MOST_S
from workers.tests.fakes import FakeLink, Stage, a_spec

QUIET_S = 30.0  # no pause of this machine takes so long


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.retained.QUIET_S", QUIET_S)


def flooded(**but: object) -> Stage:
    """A connection whose SUBSCRIBE brought many retained messages."""
    stage = Stage(**but).connect()
    stage.link.retained_seen = MANY
    stage.later(1)
    return stage


def open_links(stage: Stage) -> list[FakeLink]:
    return cast("list[FakeLink]", stage.connection.links)


def say(stage: Stage, topic: bytes = b"t", *, retain: bool = True) -> None:
    sink = stage.link.sink
    assert sink is not None
    sink(cast("Link", stage.link), Publish(topic, b"1", 0, retain, False, 0))


def test_many_retained_messages_are_fetched_by_a_second_client():
    stage = flooded()

    snapshot = stage.link
    assert snapshot.spec.client_id == "site_3_test_retained"
    assert snapshot.spec.clean_session
    assert not snapshot.spec.has_will
    assert {qos for _, qos in snapshot.spec.filters} == {0}
    stage.opened()
    stage.accepted()
    assert snapshot.said == [("subscribe", *[n for n, _ in snapshot.spec.filters])]
    assert stage.statuses == ["connecting", "connected"]


def test_a_few_are_not():
    stage = Stage().connect()
    stage.link.retained_seen = MANY - 1

    stage.later(1)

    assert len(stage.links) == 1


def test_a_connection_at_qos_0_had_them_all_already():
    stage = flooded(filters=(("site_003/a/#", 0),))

    assert len(stage.links) == 1


def test_retained_messages_are_taken_and_live_ones_left_to_the_main_link():
    stage = flooded()
    stage.opened()
    stage.accepted()

    say(stage)
    say(stage, retain=False)

    assert [message.retain for message in stage.taken] == [True]


def test_a_retained_value_behind_a_live_one_is_old():
    """The broker made its copy before the live message that overtook it."""
    stage = flooded()
    stage.opened()
    stage.accepted()
    live = stage.links[0].live_topics
    assert live is not None

    live.add(b"moved")
    say(stage, b"moved")
    say(stage, b"still")

    assert [message.topic for message in stage.taken] == [b"still"]


def test_it_ends_when_it_was_quiet_for_long_enough():
    stage = flooded()
    snapshot = stage.link
    stage.opened()
    stage.accepted()
    say(stage)

    stage.later(QUIET_S / 2)
    assert not snapshot.is_closed
    stage.later(QUIET_S + 1)

    assert snapshot.said[-1] == ("disconnect", False)
    assert open_links(stage) == [stage.links[0]]
    assert stage.links[0].live_topics is None


def test_a_pause_for_lack_of_room_is_not_quiet():
    stage = flooded()
    stage.opened()
    stage.accepted()
    stage.paused = True

    stage.later(QUIET_S + 1)

    assert not stage.link.is_closed


def test_it_ends_after_a_minute_in_any_case():
    stage = flooded()
    stage.opened()
    stage.accepted()
    stage.paused = True

    stage.later(MOST_S + 1)

    assert stage.link.is_closed


def test_one_is_enough_for_a_subscription():
    stage = flooded()
    stage.opened()
    stage.accepted()
    stage.later(QUIET_S + 1)
    stage.links[0].retained_seen = 10 * MANY

    stage.later(60)

    assert len(stage.links) == 2


def test_there_is_one_at_a_time_and_the_next_subscription_has_its_own():
    stage = flooded()
    stage.opened()
    stage.accepted()
    main = stage.links[0]
    stage.connection.resubscribe()
    main.retained_seen = MANY
    stage.later(1)
    assert len(stage.links) == 2

    stage.later(QUIET_S + 1)
    stage.later(QUIET_S + 1)

    assert len(stage.links) == 3


@pytest.mark.parametrize("end", ["lost", "dropped", "abandoned", "suspended", "moved"])
def test_it_goes_when_its_connection_goes(end):
    stage = flooded()
    main, snapshot = stage.links
    stage.opened()
    stage.accepted()

    if end == "lost":
        stage.closed(main)
    elif end == "dropped":
        stage.connection.drop(2)
    elif end == "abandoned":
        stage.connection.abandon()
    elif end == "suspended":
        stage.connection.suspend()
    else:
        stage.connection.obey(a_spec(generation=2, host="new.example.com"))

    assert snapshot.is_closed
    assert cast("Link", snapshot) not in stage.connection.links


@pytest.mark.parametrize("way", ["unreachable", "refused", "hung up"])
def test_a_snapshot_that_fails_changes_nothing_else(way):
    stage = flooded()
    snapshot: FakeLink = stage.link
    if way == "unreachable":
        stage.opened(ConnectionRefusedError())
    else:
        stage.opened()
        if way == "refused":
            stage.refused()
        else:
            stage.closed()

    assert open_links(stage) == [stage.links[0]]
    assert cast("Link", snapshot) not in stage.connection.links
    assert stage.statuses == ["connecting", "connected"]
    stage.connection.tick(time.monotonic() + 30)
    assert len(stage.links) == 2


def test_one_that_opens_after_its_connection_left_is_closed():
    stage = flooded()
    snapshot = stage.link
    stage.closed(stage.links[0])

    watched = snapshot.owner.link_opened(cast("Link", snapshot), None)

    assert not watched
    assert snapshot.is_closed
