"""Start, stop and new settings, in any order and at any moment."""

from __future__ import annotations

import pytest

from workers.connection import Phase
from workers.farewell import GOODBYE_TIMEOUT_S, WIPE_TIMEOUT_S
from workers.tests.fakes import Stage, a_spec

OFFLINE = ("publish", "site_003/backend/status", "offline", 1, True)


# -- stop ----------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_stop_says_offline_leaves_and_ends_the_session(protocol):
    """Under MQTT 5 too by a second visit: rumqttd keeps what a DISCONNECT ends."""
    stage = Stage(protocol=protocol).connect()

    stage.connection.drop(2)
    assert stage.link.said[-1] == OFFLINE
    stage.published(3)
    wipe = stage.link
    assert stage.links[0].said[-1] == ("disconnect", True)
    assert wipe.is_wipe
    stage.opened()
    stage.accepted(session_present=True)

    assert wipe.said == [("disconnect", True)]
    assert stage.is_gone
    assert stage.last.status == "disconnected"
    assert stage.last.generation == 2
    assert stage.last.detail == ""


def test_a_clean_session_needs_no_second_visit():
    stage = Stage(clean_session=True).connect()

    stage.connection.drop(2)
    stage.published(3)

    assert len(stage.links) == 1
    assert stage.is_gone


def test_a_stop_without_a_will_says_goodbye_at_once():
    stage = Stage(has_will=False, clean_session=True).connect()

    stage.connection.drop(2)

    assert stage.is_gone
    assert stage.last.status == "disconnected"


def test_a_broker_that_does_not_confirm_offline_is_left_after_a_second():
    stage = Stage(clean_session=True).connect()

    stage.connection.drop(2)
    stage.later(GOODBYE_TIMEOUT_S + 0.1)

    assert stage.link.said[-1] == ("disconnect", True)
    assert stage.is_gone


def test_a_goodbye_that_does_not_fit_into_the_socket_ends_all_the_same():
    stage = Stage(clean_session=True).connect()
    stage.link.is_stuck = True

    stage.connection.drop(2)
    stage.later(GOODBYE_TIMEOUT_S + 0.1)

    assert stage.link.is_closed
    assert stage.is_gone


def test_a_link_that_is_lost_while_leaving_is_no_error():
    stage = Stage(clean_session=True).connect()

    stage.connection.drop(2)
    stage.closed()

    assert stage.is_gone
    assert "error" not in stage.statuses


def test_another_messages_puback_is_not_the_goodbyes():
    stage = Stage(clean_session=True).connect()
    stage.connection.drop(2)

    stage.published(2)

    assert stage.connection.phase is Phase.LEAVING


@pytest.mark.parametrize("fate", ["silence", "refused", "unreachable", "hung up"])
def test_a_session_that_could_not_be_ended_is_said(fate):
    stage = Stage().connect()
    stage.connection.drop(2)
    stage.published(3)
    assert stage.link.is_wipe

    if fate == "silence":
        stage.opened()
        stage.later(WIPE_TIMEOUT_S + 1)
    elif fate == "refused":
        stage.opened()
        stage.refused()
    elif fate == "unreachable":
        stage.opened(ConnectionRefusedError())
    else:
        stage.opened()
        stage.closed()

    assert stage.is_gone
    assert stage.last.status == "disconnected"
    assert "session" in stage.last.detail


def test_a_stop_of_what_never_came_up_still_ends_an_earlier_session():
    stage = Stage()

    stage.connection.drop(2)

    assert stage.link.is_wipe
    assert stage.statuses == []


def test_a_stop_with_settings_that_cannot_be_used_dials_nobody():
    stage = Stage(problem="No broker host is set")

    stage.connection.drop(2)

    assert stage.links == []
    assert stage.is_gone
    assert stage.last.status == "disconnected"


def test_a_stop_that_is_older_than_the_start_is_ignored():
    """Two commands on two pool threads: the drop was read before the row changed."""
    stage = Stage().connect()
    stage.connection.obey(a_spec(generation=6))

    stage.connection.drop(5)

    assert stage.connection.phase is Phase.UP
    assert stage.link.said[-1] != OFFLINE


def test_a_stop_of_the_same_generation_is_obeyed():
    """The reconcile asks again when the first command was lost."""
    stage = Stage(generation=4).connect()

    stage.connection.drop(4)

    assert stage.connection.phase is Phase.LEAVING


# -- stop, then start again ----------------------------------------------------


def test_a_start_while_leaving_is_a_new_beginning_afterwards():
    stage = Stage(clean_session=True).connect()
    stage.connection.drop(2)

    stage.connection.obey(a_spec(clean_session=True, generation=3))
    assert len(stage.links) == 1
    stage.published(3)
    assert not stage.is_gone
    stage.come_up()

    assert stage.last.status == "connected"
    assert stage.last.generation == 3
    assert "disconnected" not in stage.statuses


def test_a_stop_after_that_start_wins_again():
    stage = Stage(clean_session=True).connect()
    stage.connection.drop(2)
    stage.connection.obey(a_spec(clean_session=True, generation=3))

    stage.connection.drop(4)
    stage.published(3)

    assert stage.is_gone
    assert stage.last.generation == 4


def test_a_removed_site_is_let_go_whatever_waits_for_it():
    stage = Stage(clean_session=True).connect()
    stage.connection.drop(2)
    stage.connection.obey(a_spec(clean_session=True, generation=3))

    stage.connection.remove()
    stage.published(3)

    assert stage.is_gone
    assert len(stage.links) == 1


# -- new settings --------------------------------------------------------------


def test_an_older_or_equal_generation_changes_nothing():
    stage = Stage(generation=5).connect()
    before = len(stage.snapshots)

    stage.connection.obey(a_spec(generation=5, host="other"))
    stage.connection.obey(a_spec(generation=4, host="other"))

    assert len(stage.snapshots) == before
    assert stage.connection.spec.host == "broker.example.com"


def test_the_same_settings_with_a_new_generation_are_only_reported():
    stage = Stage().connect()

    stage.connection.obey(a_spec(generation=2))

    assert len(stage.links) == 1
    assert stage.last.status == "connected"
    assert stage.last.generation == 2
    assert stage.last.topics


def test_another_time_zone_is_no_reason_to_reconnect():
    from zoneinfo import ZoneInfo

    stage = Stage().connect()

    stage.connection.obey(a_spec(generation=2, zone=ZoneInfo("Europe/Rome")))

    assert len(stage.links) == 1
    assert stage.last.generation == 2


def test_a_new_password_keeps_the_session():
    stage = Stage().connect()

    stage.connection.obey(a_spec(generation=2, password="new"))
    stage.published(3)

    assert stage.links[0].said[-1] == ("disconnect", False)
    assert [link.is_wipe for link in stage.links] == [False, False]
    stage.come_up()
    assert stage.last.status == "connected"
    assert stage.last.generation == 2


def test_the_newest_of_several_settings_wins():
    stage = Stage(clean_session=True).connect()

    for n in (2, 3, 4):
        stage.connection.obey(
            a_spec(clean_session=True, generation=n, password=f"pw{n}")
        )
    stage.published(3)
    stage.come_up()

    assert stage.connection.spec.password == "pw4"
    assert stage.last.generation == 4
    assert len(stage.links) == 2


def test_new_settings_end_the_wait_after_an_error():
    stage = Stage()
    stage.connection.start()
    stage.opened()
    stage.refused()

    stage.connection.obey(a_spec(generation=2, password="right"))
    stage.come_up()

    assert stage.last.status == "connected"
    assert stage.last.retry_count == 0


# -- the process ends, or loses the shard --------------------------------------


def test_a_pause_keeps_the_session():
    stage = Stage().connect()

    stage.connection.pause()
    stage.published(3)

    assert stage.link.said[-1] == ("disconnect", False)
    assert len(stage.links) == 1
    assert stage.is_gone


def test_a_pause_while_a_successor_waits_starts_nothing():
    stage = Stage(clean_session=True).connect()
    stage.connection.drop(2)
    stage.connection.obey(a_spec(clean_session=True, generation=3))

    stage.connection.pause()
    stage.published(3)

    assert stage.is_gone
    assert len(stage.links) == 1


def test_an_abandoned_connection_is_silent():
    stage = Stage().connect()
    before = len(stage.snapshots)

    stage.connection.abandon()

    assert stage.is_gone
    assert stage.link.said[-1] == ("close",)
    assert len(stage.snapshots) == before
    stage.later(1_000)
    assert len(stage.links) == 1
