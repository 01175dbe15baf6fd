"""Other topics on a running connection: changed in place, said when confirmed."""

from __future__ import annotations

from workers.connection import Phase
from workers.subscriptions import ANSWER_TIMEOUT_S
from workers.tests.fakes import SPEC, Stage, a_spec

OWN, EXTRA, THIRD = ("site_003/own/#", 1), ("site_003/extra/#", 1), ("site_003/x", 1)


def up_with(*filters: tuple[str, int]) -> Stage:
    stage = Stage(filters=filters).connect()
    stage.link.said.clear()
    return stage


def test_a_new_filter_is_subscribed_and_a_removed_one_taken_back():
    stage = up_with(OWN, EXTRA)

    stage.connection.obey(a_spec(generation=2, filters=(OWN, THIRD)))

    assert stage.link.said == [
        ("subscribe", "site_003/x"),  # first: the two may overlap
        ("unsubscribe", "site_003/extra/#"),
    ]
    assert len(stage.links) == 1


def test_it_is_connected_under_the_new_settings_when_they_are_confirmed():
    stage = up_with(OWN)

    stage.connection.obey(a_spec(generation=2, filters=(OWN, THIRD)))
    assert (stage.last.status, stage.last.generation) == ("connecting", 2)
    stage.subscribed(mid=3)

    assert (stage.last.status, stage.last.generation) == ("connected", 2)
    assert stage.last.topics == ("site_003/own/#", "site_003/x")
    assert stage.statuses == ["connecting", "connected", "connecting", "connected"]


def test_a_removed_filter_alone_waits_for_nothing():
    stage = up_with(OWN, EXTRA)

    stage.connection.obey(a_spec(generation=2, filters=(OWN,)))

    assert (stage.last.status, stage.last.generation) == ("connected", 2)
    assert stage.last.topics == ("site_003/own/#",)


def test_another_qos_is_another_subscription():
    stage = up_with(OWN)

    stage.connection.obey(a_spec(generation=2, filters=((OWN[0], 0),)))

    assert stage.link.said == [("subscribe", OWN[0])]


def test_a_refused_new_filter_is_an_error():
    stage = up_with(OWN)

    stage.connection.obey(a_spec(generation=2, filters=(OWN, THIRD)))
    stage.subscribed("site_003/x", mid=3)

    assert (stage.last.status, stage.last.reason) == ("error", "subscribe")
    assert "site_003/x" in stage.last.detail


def test_a_refused_filter_that_is_not_wanted_any_more_is_none():
    stage = up_with(OWN)

    stage.connection.obey(a_spec(generation=2, filters=(OWN, THIRD)))
    stage.connection.obey(a_spec(generation=3, filters=(OWN, EXTRA)))
    stage.subscribed("site_003/x", mid=3)
    assert stage.last.status == "connecting"
    stage.subscribed(mid=4)

    assert (stage.last.status, stage.last.generation) == ("connected", 3)


def test_an_answer_to_an_earlier_subscription_confirms_nothing():
    stage = up_with(OWN)

    stage.connection.obey(a_spec(generation=2, filters=(OWN, THIRD)))
    stage.subscribed(mid=1)

    assert stage.last.status == "connecting"


def test_a_subscription_that_nobody_confirms_is_a_timeout():
    stage = up_with(OWN)

    stage.connection.obey(a_spec(generation=2, filters=(OWN, THIRD)))
    stage.later(ANSWER_TIMEOUT_S + 1)

    assert (stage.last.status, stage.last.reason) == ("error", "timeout")


def test_other_filters_before_connack_are_simply_the_ones_that_are_asked_for():
    stage = Stage(filters=(OWN,))
    stage.connection.start()
    stage.opened()

    stage.connection.obey(a_spec(generation=2, filters=(EXTRA,)))
    stage.accepted()

    assert stage.link.said == [("subscribe", "site_003/extra/#")]
    assert len(stage.links) == 1


def test_other_filters_before_the_first_suback_are_both_waited_for():
    stage = Stage(filters=(OWN,))
    stage.connection.start()
    stage.opened()
    stage.accepted()

    stage.connection.obey(a_spec(generation=2, filters=(OWN, EXTRA)))
    stage.subscribed(mid=2)
    assert stage.last.status == "connecting"
    stage.subscribed(mid=1)

    assert (stage.last.status, stage.last.generation) == ("connected", 2)
    assert stage.link.said[-1][:3] == ("publish", SPEC.status_topic, "online")


def test_a_filter_that_was_taken_back_is_so_again_when_the_link_was_lost():
    """The UNSUBSCRIBE may not have arrived, and the session still have it."""
    stage = up_with(OWN, EXTRA)
    stage.connection.obey(a_spec(generation=2, filters=(OWN,)))
    stage.closed()
    stage.later(7)

    stage.opened()
    stage.accepted(session_present=True)

    assert stage.link.said == [
        ("unsubscribe", "site_003/extra/#"),
        ("subscribe", "site_003/own/#"),
    ]


def test_a_lost_session_takes_its_old_filters_with_it():
    stage = up_with(OWN, EXTRA)
    stage.connection.obey(a_spec(generation=2, filters=(OWN,)))
    stage.closed()
    stage.later(7)
    stage.opened()
    stage.accepted(session_present=False)
    stage.subscribed(mid=1)
    stage.closed()
    stage.later(30)

    stage.opened()
    stage.accepted(session_present=True)

    assert [what for what, *_ in stage.link.said] == ["subscribe"]


# -- once more, on demand ------------------------------------------------------


def test_on_demand_everything_is_subscribed_again():
    stage = up_with(OWN, EXTRA)

    assert stage.connection.resubscribe()

    assert stage.link.said == [("again", "site_003/own/#", "site_003/extra/#")]
    assert stage.connection.phase is Phase.UP
    stage.subscribed(mid=3)
    assert stage.last.status == "connected"


def test_what_is_refused_then_is_an_error():
    stage = up_with(OWN, EXTRA)
    stage.connection.resubscribe()

    stage.subscribed("site_003/own/#", mid=3)

    assert (stage.last.status, stage.last.reason) == ("error", "subscribe")


def test_what_is_not_connected_cannot_subscribe():
    stage = Stage()
    stage.connection.start()

    assert not stage.connection.resubscribe()
