"""Links that are lost: why, how long to stay away, and who fights with us."""

from __future__ import annotations

import time

import pytest

from workers.connection import Phase
from workers.tests.fakes import Stage, a_spec


def lose(stage: Stage, *, age_s: float = 1.0, code: int | None = None) -> None:
    stage.link.accepted_at = time.monotonic() - age_s
    stage.link.server_code = code
    stage.closed()


def test_a_lost_link_is_an_error_that_is_tried_again():
    stage = Stage().connect()

    lose(stage, age_s=100)

    assert (stage.last.status, stage.last.reason) == ("error", "lost")
    assert stage.last.topics == ()
    stage.later(7)
    assert len(stage.links) == 2


def test_what_the_broker_said_is_passed_on():
    stage = Stage().connect()

    lose(stage, age_s=100, code=0x8B)

    assert "0x8B" in stage.last.detail


def test_a_link_that_we_closed_says_why():
    stage = Stage().connect()
    stage.link.broke_protocol = "a packet of 200000000 bytes was announced"

    lose(stage)

    assert (stage.last.status, stage.last.reason) == ("error", "protocol")
    assert "200000000" in stage.last.detail


def quick_drops(stage: Stage, count: int) -> list[str]:
    reasons = []
    for _ in range(count):
        lose(stage)
        reasons.append(stage.last.reason)
        stage.later(1_000)
        stage.come_up()
    return reasons


def test_three_quick_drops_are_a_fight_over_the_client_id():
    stage = Stage().connect()

    reasons = quick_drops(stage, 3)

    assert reasons == ["lost", "lost", "duplicate_client_id"]


def test_a_fight_is_left_for_a_minute_then_two_then_five():
    stage = Stage().connect()
    quick_drops(stage, 2)

    for wait_s in (60, 120, 300, 300):
        lose(stage)
        assert f"{wait_s} s" in stage.last.detail
        assert "site_3_test" in stage.last.detail
        links = len(stage.links)
        stage.later(wait_s - 5)
        assert len(stage.links) == links
        stage.later(wait_s + 1)
        assert len(stage.links) == links + 1
        stage.come_up()


def test_a_broker_that_restarts_again_and_again_is_no_fight():
    stage = Stage().connect()
    stage.broker_is_up = False

    assert quick_drops(stage, 5) == ["lost"] * 5


def test_old_links_that_are_lost_are_no_fight():
    stage = Stage().connect()
    for _ in range(5):
        lose(stage, age_s=20)
        assert stage.last.reason == "lost"
        stage.later(1_000)
        stage.come_up()


def test_a_person_who_presses_start_ends_the_cooldown():
    stage = Stage().connect()
    quick_drops(stage, 2)
    lose(stage)
    assert stage.last.reason == "duplicate_client_id"
    links = len(stage.links)

    stage.connection.obey(a_spec(generation=2))

    assert len(stage.links) == links + 1
    assert stage.last.status == "connecting"
    assert stage.last.generation == 2


def test_a_person_who_presses_start_while_the_probe_looks_is_obeyed():
    stage = Stage().connect()
    asked = []
    stage.probe = lambda _, told: asked.append(told)  # type: ignore[method-assign, assignment]
    for _ in range(3):
        lose(stage)
        stage.connection.obey(a_spec(generation=len(asked) + 1))
        asked[-1](True)
        assert stage.connection.phase is Phase.OPENING
        stage.come_up()

    assert "duplicate_client_id" not in [s.reason for s in stage.snapshots]


# -- too many messages at once -------------------------------------------------


def test_a_full_inbox_suspends_the_connection_until_there_is_room():
    stage = Stage().connect()
    stage.room = False

    stage.connection.suspend()
    stage.later(60)
    assert len(stage.links) == 1
    assert stage.last.status == "connecting"
    assert stage.last.errors == 0
    stage.room = True
    stage.later(60)

    assert len(stage.links) == 2


def test_a_suspended_connection_keeps_its_session():
    stage = Stage().connect()

    stage.connection.suspend()

    assert ("disconnect", False) in stage.link.said
    assert stage.connection.link is None


def test_a_suspended_link_whose_goodbye_does_not_fit_is_closed():
    stage = Stage().connect()
    stage.link.is_stuck = True

    stage.connection.suspend()

    assert stage.link.is_closed
    assert stage.forgotten == [stage.link]


@pytest.mark.parametrize("moment", ["opening", "greeting", "waiting"])
def test_only_a_connection_that_is_up_can_be_suspended(moment):
    stage = Stage()
    stage.connection.start()
    if moment != "opening":
        stage.opened()
    if moment == "waiting":
        stage.closed()
    phase = stage.connection.phase

    stage.connection.suspend()

    assert stage.connection.phase is phase


def test_a_broker_that_is_silent_from_the_start_is_a_timeout_and_no_bad_password():
    stage = Stage()
    stage.connection.start()
    stage.opened()
    stage.link.was_silent = True

    stage.closed()

    assert (stage.last.status, stage.last.reason) == ("error", "timeout")


def test_a_client_certificate_refused_after_the_handshake_is_a_fault_of_tls():
    stage = Stage()
    stage.connection.start()
    stage.opened()
    stage.link.tls_alert = "tlsv13 alert certificate required"

    stage.closed()

    assert (stage.last.status, stage.last.reason) == ("error", "tls")
    assert "certificate required" in stage.last.detail
