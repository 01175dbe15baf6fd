"""Another broker, or another client id: the new session at once, the old one ended."""

from __future__ import annotations

from typing import Any

from workers.farewell import GOODBYE_TIMEOUT_S, REST_S, WIPE_TIMEOUT_S
from workers.tests.fakes import Stage, a_spec

NEW: dict[str, Any] = {"generation": 2, "host": "new.example.com"}


def moved(**but: Any) -> Stage:
    """A connection whose farewell waits for its PUBACK while the new link is opened."""
    stage = Stage().connect()
    stage.connection.obey(a_spec(**{**NEW, **but}))
    return stage


def test_the_new_broker_is_dialled_before_the_old_one_has_answered():
    stage = moved()

    assert [link.spec.host for link in stage.links] == [
        "broker.example.com",
        "new.example.com",
    ]
    assert stage.links[0].said[-1][:3] == (
        "publish",
        "site_003/backend/status",
        "offline",
    )
    stage.come_up()
    assert (stage.last.status, stage.last.generation) == ("connected", 2)


def test_the_old_session_is_ended_once_the_new_link_is_up():
    stage = moved()
    stage.published(3, stage.links[0])
    assert stage.links[0].said[-1] == ("disconnect", True)
    assert len(stage.links) == 2
    stage.come_up()

    wipe = stage.link
    assert wipe.is_wipe
    assert wipe.spec.host == "broker.example.com"
    assert wipe.spec.clean_session
    assert not wipe.spec.has_will
    stage.opened()
    stage.accepted()
    assert wipe.said == [("disconnect", True)]
    stage.later(60)
    assert len(stage.links) == 3
    assert stage.statuses == ["connecting", "connected", "connecting", "connected"]


def test_the_old_session_is_ended_also_while_the_new_broker_does_not_answer():
    stage = moved()
    stage.published(3, stage.links[0])

    stage.later(REST_S + 1)

    assert stage.link.is_wipe


def test_an_old_broker_that_is_gone_holds_nothing_up_and_is_tried_once():
    stage = moved()
    stage.come_up()
    stage.later(GOODBYE_TIMEOUT_S + 1)  # no PUBACK; with the new link up no rest
    stage.later(REST_S + 2)
    wipe = stage.link
    assert wipe.is_wipe

    stage.later(WIPE_TIMEOUT_S + 60)
    stage.later(WIPE_TIMEOUT_S + 600)

    assert stage.links.count(wipe) == 1
    assert len([link for link in stage.links if link.is_wipe]) == 1
    assert stage.last.status == "connected"
    assert stage.connection.links == [stage.connection.link]


def test_two_names_of_one_broker_share_a_session_which_is_not_ended():
    """The new CONNECT has taken it over; a clean one would end the new link."""
    stage = moved()
    stage.published(3, stage.links[0])
    stage.links[1].peer = ("10.0.0.5", 1883)
    stage.come_up()
    wipe = stage.link
    assert wipe.is_wipe
    wipe.peer = ("10.0.0.5", 1883)

    watched = stage.opened()

    assert not watched
    assert wipe.said == [("close",)]
    assert stage.last.status == "connected"


def test_one_broker_under_another_client_id_has_two_sessions():
    stage = moved(host="broker.example.com", client_id="other_id")
    stage.published(3, stage.links[0])
    stage.come_up()

    stage.opened()
    stage.accepted()

    assert stage.link.spec.client_id == "site_3_test"
    assert stage.link.said == [("disconnect", True)]


def test_a_broker_that_was_never_reached_does_not_delay_the_right_one():
    stage = Stage()
    stage.connection.start()
    stage.opened(TimeoutError())

    stage.connection.obey(a_spec(**NEW))

    assert stage.link.spec.host == "new.example.com"
    assert stage.last.status == "connecting"


def test_back_to_the_old_broker_at_once_keeps_its_session():
    stage = moved()
    stage.published(3, stage.links[0])  # left, and resting

    stage.connection.obey(a_spec(generation=3))

    assert stage.link.spec.host == "broker.example.com"
    assert not stage.link.is_wipe
    stage.come_up()
    assert stage.last.generation == 3
    wiped = [link.spec.host for link in stage.links if link.is_wipe]
    assert wiped == ["new.example.com"]


def test_the_same_session_is_never_held_twice():
    """Back to a broker where a clean connect is under way: only after it."""
    stage = moved()
    stage.published(3, stage.links[0])
    stage.come_up()
    stage.opened()  # the wipe's link

    stage.connection.obey(a_spec(generation=3))
    before = len(stage.links)
    stage.accepted()

    assert before == 3
    old, new = "broker.example.com", "new.example.com"
    assert [link.spec.host for link in stage.links] == [old, new, old, old]
    assert [link.is_wipe for link in stage.links] == [False, False, True, False]


def test_a_third_broker_ends_the_session_that_was_meant_to_be_kept():
    stage = moved(host="broker.example.com", password="new")  # waits for the goodbye
    assert len(stage.links) == 1

    stage.connection.obey(a_spec(generation=3, host="third.example.com"))
    stage.published(3, stage.links[0])
    stage.come_up()

    assert stage.links[1].spec.host == "third.example.com"
    assert stage.link.is_wipe
    assert stage.link.spec.host == "broker.example.com"


def test_a_stop_meanwhile_ends_both_sessions():
    stage = moved()
    stage.published(3, stage.links[0])
    stage.come_up()
    old_wipe = stage.link
    new = stage.links[1]

    stage.connection.drop(2)
    stage.published(3, new)
    new_wipe = stage.link
    assert new_wipe.spec.host == "new.example.com"
    stage.opened()
    stage.accepted()
    gone = [stage.is_gone]
    old_wipe.owner.link_opened(old_wipe, ConnectionRefusedError())  # type: ignore[arg-type]
    gone.append(stage.is_gone)

    assert gone == [False, True]
    assert "session" in stage.last.detail


def test_a_pause_meanwhile_ends_the_old_session_and_keeps_the_new_one():
    stage = moved()
    stage.published(3, stage.links[0])
    stage.connection.pause()

    assert [link.is_wipe for link in stage.links] == [False, False, True]
    stage.opened()
    stage.accepted()

    assert stage.is_gone


def test_an_abandoned_connection_drops_its_farewells_too():
    stage = moved()

    stage.connection.abandon()

    assert ("close",) in stage.links[0].said
    assert stage.connection.links == []
    stage.later(100)
    assert len(stage.links) == 2


def test_news_of_the_old_link_are_no_news_of_the_connection():
    stage = moved()
    stage.come_up()

    stage.closed(stage.links[0])

    assert stage.last.status == "connected"
    assert stage.connection.errors == 0
