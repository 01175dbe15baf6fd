"""Links that are lost: why, how long to stay away, and who fights with us."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from workers.connection import Phase
from workers.standing import Claim
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


# -- a lease that is not confirmed ---------------------------------------------


def unsure(claim: Claim = Claim.UNSURE) -> Stage:
    """Return a site that was connected when the database went away."""
    stage = Stage().connect()
    stage.standing = claim
    return stage


def test_a_link_is_kept_while_the_database_is_away():
    stage = unsure()

    stage.later(1_000)

    assert stage.last.status == "connected"
    assert not stage.link.is_closed


@pytest.mark.parametrize("code", [None, 0x8E])
def test_who_was_evicted_connects_only_when_the_lease_is_confirmed(code: int | None):
    stage = unsure()

    lose(stage, age_s=100, code=code)
    stage.later(7)
    stage.later(30)
    assert len(stage.links) == 1
    assert (stage.last.status, stage.last.reason) == ("error", "lost")

    stage.standing = Claim.HELD
    stage.later(31)
    assert len(stage.links) == 2


def test_while_the_database_is_away_one_try_a_minute_is_made():
    stage = unsure()
    lose(stage, age_s=100)

    for second in range(7, 180):
        stage.later(second)
        if not stage.link.is_closed and stage.link.is_opening:
            stage.opened(ConnectionRefusedError())

    assert len(stage.links) == 1 + 2


def test_who_was_frozen_never_connects_before_somebody_has_looked():
    stage = unsure(Claim.UNASKED)
    lose(stage, age_s=100)

    stage.later(10_000)

    assert len(stage.links) == 1


def test_who_left_because_of_a_full_inbox_comes_back_at_once():
    stage = unsure()

    stage.connection.suspend()
    stage.later(1)

    assert len(stage.links) == 2


def test_a_session_is_not_ended_while_another_worker_may_use_it():
    stage = unsure()

    stage.connection.drop(2)
    stage.published(3)  # `offline`

    assert len(stage.links) == 1
    assert stage.is_gone
    assert "left alone" in stage.last.detail


# -- what the broker grants ----------------------------------------------------


def test_a_topic_at_a_lower_qos_is_connected_with_a_warning():
    stage = Stage()
    stage.connection.start()
    stage.opened()
    stage.accepted()
    stage.link.lowered = {a_spec().filters[1][0]: 0, "of/nobody": 0}
    stage.subscribed()

    assert stage.last.status == "connected"
    assert stage.last.reason == ""
    assert stage.last.lowered_topics == (a_spec().filters[1][0],)
    assert "1 of 2 topics" in stage.last.detail


# -- since when ------------------------------------------------------------------


def ago_s(moment: datetime | None) -> float:
    assert moment is not None
    return (datetime.now(UTC) - moment).total_seconds()


def test_a_link_that_never_was_lost_nothing():
    stage = Stage().connect()

    assert stage.last.lost_at is None


def test_the_time_of_the_loss_is_told_until_the_next_one():
    stage = Stage().connect()

    lose(stage, age_s=100)
    lost_at = stage.last.lost_at
    stage.later(7)
    stage.come_up()

    assert 0 <= ago_s(lost_at) < 60
    assert (stage.last.status, stage.last.lost_at) == ("connected", lost_at)


def test_a_try_that_fails_is_no_new_loss():
    stage = Stage().connect()
    lose(stage, age_s=100)
    lost_at = stage.last.lost_at

    stage.later(7)
    stage.closed()

    assert stage.last.status == "error"
    assert stage.last.lost_at == lost_at


def test_a_silent_link_was_lost_before_we_noticed():
    stage = Stage().connect()
    stage.link.was_silent = True

    lose(stage, age_s=100)

    assert 30 <= ago_s(stage.last.lost_at) < 90


def test_leaving_by_ourselves_is_an_absence_too():
    stage = Stage().connect()

    stage.connection.suspend()

    assert 0 <= ago_s(stage.last.lost_at) < 60


def test_another_broker_owes_us_nothing():
    stage = Stage().connect()
    lose(stage, age_s=100)

    stage.connection.obey(a_spec(generation=2, host="other.example.com"))
    stage.come_up()

    assert (stage.last.status, stage.last.lost_at) == ("connected", None)


def test_other_settings_of_the_same_session_are_a_short_absence():
    stage = Stage().connect()

    stage.connection.obey(a_spec(generation=2, keepalive_s=30))
    stage.published(3)  # the farewell to the old link
    stage.come_up()

    assert stage.last.status == "connected"
    assert 0 <= ago_s(stage.last.lost_at) < 60


def test_a_clean_session_says_so():
    assert Stage(clean_session=True).connect().last.is_clean
    assert not Stage().connect().last.is_clean
