"""From `start` to `connected`, and every way in which that fails."""

from __future__ import annotations

import socket

import pytest

from workers.connection import Phase
from workers.subscriptions import ANSWER_TIMEOUT_S
from workers.tests.fakes import SPEC, Stage, a_spec

FILTERS = tuple(name for name, _ in SPEC.filters)


def test_it_is_connected_when_the_subscription_is_confirmed():
    stage = Stage()

    stage.connection.start()
    assert stage.opened()
    stage.accepted()
    assert stage.statuses == ["connecting"]
    stage.subscribed()

    assert stage.statuses == ["connecting", "connected"]
    assert stage.last.topics == FILTERS
    assert stage.last.client_id == "site_3_test"
    assert stage.last.connected_at is not None
    assert stage.last.reason == ""


def test_it_says_online_retained_once_it_is_up():
    stage = Stage().connect()

    assert stage.link.said == [
        ("subscribe", *FILTERS),
        ("publish", "site_003/backend/status", "online", 1, True),
    ]


def test_without_a_will_it_publishes_nothing():
    stage = Stage(has_will=False).connect()

    assert [what for what, *_ in stage.link.said] == ["subscribe"]


def test_a_connection_without_filters_is_up_at_once():
    stage = Stage(filters=())

    stage.connection.start()
    stage.opened()
    stage.accepted()

    assert stage.connection.phase is Phase.UP
    assert stage.last.status == "connected"
    assert stage.last.topics == ()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "unknown"), "dns"),
        (ConnectionRefusedError(), "refused"),
        (TimeoutError(), "timeout"),
        (ValueError("Invalid host."), "config"),
    ],
)
def test_a_broker_out_of_reach_is_an_error_with_its_reason_and_a_retry(error, reason):
    stage = Stage()

    stage.connection.start()
    watched = stage.opened(error)

    assert not watched
    assert (stage.last.status, stage.last.reason) == ("error", reason)
    assert stage.last.retry_count == 1
    assert stage.last.errors == 1
    assert stage.last.next_retry_at is not None
    stage.later(7)
    assert len(stage.links) == 2


def test_no_retry_comes_early():
    stage = Stage()
    stage.connection.start()
    stage.opened(ConnectionRefusedError())

    stage.later(3)  # the first wait is 5 s ± 25 %

    assert len(stage.links) == 1


def test_retries_slow_down_until_a_link_was_stable_for_a_minute():
    stage = Stage()
    stage.connection.start()
    for _ in range(8):
        stage.opened(ConnectionRefusedError())
        stage.later(400)
    assert stage.last.retry_count == 8

    stage.come_up()
    stage.later(59)
    assert stage.last.retry_count == 8
    stage.later(61)
    stage.link.server_code = None
    stage.closed()

    assert stage.last.retry_count == 1


@pytest.mark.parametrize(
    ("code", "reason", "is_slow"),
    [(0x86, "auth", True), (0x87, "auth", True), (0x97, "refused", False)],
)
def test_a_refused_login_is_tried_again_after_five_minutes_only(code, reason, is_slow):
    stage = Stage()
    stage.connection.start()
    stage.opened()

    stage.connection.link_refused(stage.link, code, "no")  # type: ignore[arg-type]

    assert (stage.last.status, stage.last.reason) == ("error", reason)
    stage.later(290)
    assert len(stage.links) == (1 if is_slow else 2)
    stage.later(301)
    assert len(stage.links) == 2


def test_a_broker_that_hangs_up_before_connack_is_most_likely_the_login():
    stage = Stage()
    stage.connection.start()
    stage.opened()

    stage.closed()

    assert stage.last.reason == "auth"
    assert "TLS" in stage.last.detail


@pytest.mark.parametrize("answers", [[], ["accepted"]])
def test_a_broker_that_never_answers_is_given_ten_seconds(answers):
    stage = Stage()
    stage.connection.start()
    stage.opened()
    for answer in answers:
        getattr(stage, answer)()

    stage.later(ANSWER_TIMEOUT_S - 1)
    assert stage.last.status == "connecting"
    stage.later(ANSWER_TIMEOUT_S + 1)

    assert (stage.last.status, stage.last.reason) == ("error", "timeout")
    assert ("close",) in stage.link.said


def test_a_slow_executor_is_no_timeout_of_the_brokers():
    stage = Stage()
    stage.connection.start()

    stage.later(600)

    assert stage.statuses == ["connecting"]
    assert len(stage.links) == 1


def test_a_refused_filter_is_named():
    stage = Stage()
    stage.connection.start()
    stage.opened()
    stage.accepted()

    stage.subscribed(FILTERS[1])

    assert (stage.last.status, stage.last.reason) == ("error", "subscribe")
    assert FILTERS[1] in stage.last.detail
    assert FILTERS[0] not in stage.last.detail


def test_filters_that_an_old_session_may_hold_are_taken_back():
    stage = Stage(unwanted=("site_003/old/#",))
    stage.connection.start()
    stage.opened()

    stage.accepted(session_present=True)

    assert stage.link.said[0] == ("unsubscribe", "site_003/old/#")


def test_a_new_session_holds_nothing_to_take_back():
    stage = Stage(unwanted=("site_003/old/#",))
    stage.connection.start()
    stage.opened()

    stage.accepted(session_present=False)

    assert [what for what, *_ in stage.link.said] == ["subscribe"]


# -- settings that cannot be used ----------------------------------------------


def test_settings_that_cannot_be_used_are_said_and_never_dialled():
    stage = Stage(problem="The stored broker password cannot be decrypted")

    stage.connection.start()

    assert (stage.last.status, stage.last.reason) == ("error", "config")
    assert "password" in stage.last.detail
    assert stage.links == []


def test_a_secret_that_cannot_be_read_is_not_replaced_by_none_at_a_retry():
    """It would log in without a password, and with TLS settings lost, in the clear."""
    stage = Stage(problem="The stored broker password cannot be decrypted", password="")
    stage.connection.start()

    for _ in range(5):
        stage.later(10_000)

    assert stage.links == []
    assert (stage.last.status, stage.last.reason) == ("error", "config")


def test_mended_settings_are_dialled_at_once():
    stage = Stage(problem="No broker host is set")
    stage.connection.start()

    stage.connection.obey(a_spec(generation=2))

    assert len(stage.links) == 1
    assert stage.last.status == "connecting"


# -- late news of an older link ------------------------------------------------


def test_what_an_older_link_says_changes_nothing():
    stage = Stage().connect()
    old = stage.link
    stage.closed()
    stage.later(7)
    before = len(stage.snapshots)

    stage.closed(old)
    stage.connection.link_accepted(old, session_present=True)  # type: ignore[arg-type]
    stage.connection.link_refused(old, 0x86, "no")  # type: ignore[arg-type]
    stage.connection.link_subscribed(old, 1, [])  # type: ignore[arg-type]
    stage.connection.link_published(old, 1, 0)  # type: ignore[arg-type]

    assert len(stage.snapshots) == before
    assert stage.connection.phase is Phase.OPENING


def test_a_link_that_opens_after_it_was_given_up_is_closed():
    stage = Stage()
    stage.connection.start()
    stage.connection.drop(2)
    assert ("close",) not in stage.link.said  # the executor still holds it
    late = stage.links[0]

    watched = stage.connection.link_opened(late, None)  # type: ignore[arg-type]

    assert not watched
    assert ("close",) in late.said


def test_a_closed_link_told_twice_is_one_error():
    """Measured: on_disconnect fires twice for a half-open link."""
    stage = Stage().connect()
    link = stage.link

    stage.closed(link)
    stage.closed(link)

    assert stage.last.errors == 1
    assert stage.statuses.count("error") == 1
