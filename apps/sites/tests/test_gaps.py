"""When messages may be missing: told with a beginning, an end and the cause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.core.redis import client, report_key
from apps.core.tests.clients import client_of
from apps.sites import reports, services
from apps.sites.gaps import Return, judge
from apps.sites.models import GapCause, MqttConnection, Status, SuspectedGap
from apps.sites.overview import doubts
from apps.sites.recording import _mark, reconcile, record
from apps.sites.selectors import connection_statuses
from apps.sites.tests.builders import report_on, running

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _no_reports(db):
    yield
    for pk in MqttConnection.objects.values_list("pk", flat=True):
        client().delete(report_key(pk))


def after(**but: Any) -> Return:
    """Return how a connection comes back that was away for ten minutes."""
    said: dict[str, Any] = {
        "left_at": NOON,
        "back_at": NOON + 10 * MINUTE,
        "is_clean": False,
        "session_present": True,
        "has_qos_0": False,
        "per_minute": 60,
    }
    return Return(**(said | but))


@pytest.mark.parametrize(
    ("but", "cause"),
    [
        ({}, None),
        ({"session_present": None}, None),
        ({"session_present": False}, GapCause.SESSION_LOST),
        ({"is_clean": True}, GapCause.CLEAN_SESSION),
        ({"is_clean": True, "session_present": False}, GapCause.CLEAN_SESSION),
        ({"per_minute": 100}, None),  # 1,000 in these ten minutes
        ({"per_minute": 101}, GapCause.QUEUE_OVERFLOW),
        ({"per_minute": 101, "session_present": False}, GapCause.SESSION_LOST),
        ({"has_qos_0": True}, GapCause.QOS_0),
        ({"has_qos_0": True, "per_minute": 101}, GapCause.QUEUE_OVERFLOW),
        ({"per_minute": 60_000, "left_at": NOON + 10 * MINUTE}, None),
    ],
)
def test_the_gravest_cause_is_told(but, cause):
    found = judge(after(**but))

    assert (found and found[0]) == cause


def test_how_many_may_have_come_is_told():
    assert judge(after(per_minute=12_000)) == (
        GapCause.QUEUE_OVERFLOW,
        "about 120,000 messages at 12,000 a minute",
    )


# -- recorded ------------------------------------------------------------------


def gaps() -> list[tuple[datetime, datetime, str]]:
    return list(SuspectedGap.objects.values_list("began_at", "ended_at", "cause"))


def start(site, **said) -> tuple[MqttConnection, datetime]:
    """Return a connection that came up at a time."""
    row = running(site)
    assert row.last_connected_at is not None
    return row, row.last_connected_at


def test_the_first_connect_and_a_quiet_life_are_no_gap(north):
    row, up_at = start(north)

    record(report_on(row, connected_at=up_at, session_present=False))

    assert gaps() == []


def test_a_session_that_is_gone_is_a_gap_from_the_loss_to_the_return(north):
    row, up_at = start(north)
    lost_at, back_at = up_at + MINUTE, up_at + 2 * MINUTE

    record(report_on(row, status=Status.ERROR, reason="lost", lost_at=lost_at))
    back = report_on(row, lost_at=lost_at, connected_at=back_at, session_present=False)
    record(back)
    record(back)  # the reconcile may say it once more

    assert gaps() == [(lost_at, back_at, "session_lost")]


def test_a_loss_that_nobody_recorded_in_between_is_a_gap_too(north):
    """Lost and back within a moment: the recorder sees only the last report."""
    row, up_at = start(north)
    lost_at, back_at = up_at + MINUTE, up_at + 2 * MINUTE

    record(report_on(row, lost_at=lost_at, connected_at=back_at, session_present=False))

    assert gaps() == [(lost_at, back_at, "session_lost")]


def test_a_session_that_is_still_there_is_no_gap(north):
    row, up_at = start(north)

    record(
        report_on(
            row,
            lost_at=up_at + MINUTE,
            connected_at=up_at + 2 * MINUTE,
            session_present=True,
        )
    )

    assert gaps() == []


def test_after_a_takeover_the_gap_begins_with_the_last_report_of_the_dead(north):
    row, up_at = start(north)
    heard_at, back_at = up_at + MINUTE, up_at + 3 * MINUTE
    MqttConnection.objects.update(last_heartbeat_at=heard_at)
    epoch = row.report_epoch + 1

    record(report_on(row, epoch=epoch, status=Status.CONNECTING, at=back_at))
    record(report_on(row, epoch=epoch, connected_at=back_at, session_present=False))

    assert gaps() == [(heard_at, back_at, "session_lost")]


def test_a_takeover_that_is_recorded_in_one_report_is_the_same(north):
    row, up_at = start(north)
    heard_at, back_at = up_at + MINUTE, up_at + 3 * MINUTE
    MqttConnection.objects.update(last_heartbeat_at=heard_at)

    record(
        report_on(
            row,
            epoch=row.report_epoch + 1,
            connected_at=back_at,
            session_present=False,
        )
    )

    assert gaps() == [(heard_at, back_at, "session_lost")]


def test_a_worker_that_was_called_lost_leaves_its_last_sign_of_life(north):
    row, up_at = start(north)
    heard_at, back_at = up_at + MINUTE, up_at + 60 * MINUTE
    MqttConnection.objects.update(last_heartbeat_at=heard_at)
    row.refresh_from_db()
    _mark(row, Status.ERROR, services.Reason.WORKER_LOST)
    record(
        report_on(row, epoch=row.report_epoch + 1, connected_at=back_at, is_clean=True)
    )

    assert gaps() == [(heard_at, back_at, "clean_session")]


def test_what_a_person_stopped_misses_nothing(north):
    row, up_at = start(north)

    services.connection_stop(north)
    record(report_on(row, status=Status.DISCONNECTED, lost_at=up_at + MINUTE))
    services.connection_start(north)
    record(report_on(row, connected_at=up_at + 9 * MINUTE, session_present=False))

    assert gaps() == []


def test_more_than_a_broker_keeps_is_told_with_the_rate_from_before(north):
    row, up_at = start(north)
    reports.store([report_on(row, connected_at=up_at, per_minute=(9, 400, 20), seq=99)])
    reconcile()
    lost_at = up_at + MINUTE

    record(
        report_on(
            row,
            lost_at=lost_at,
            connected_at=lost_at + 3 * MINUTE,
            session_present=True,
            per_minute=(0, 0, 0),
            seq=100,
        )
    )

    [gap] = SuspectedGap.objects.all()
    assert (gap.cause, gap.detail) == (
        "queue_overflow",
        "about 1,200 messages at 400 a minute",
    )


@pytest.mark.parametrize("is_lowered", [True, False])
def test_qos_0_keeps_nothing_while_the_link_is_broken(north, is_lowered):
    row, up_at = start(north)
    if not is_lowered:
        row.topics.filter(pk=row.topics.earliest("pk").pk).update(qos=0)

    record(
        report_on(
            row,
            lost_at=up_at + MINUTE,
            connected_at=up_at + 2 * MINUTE,
            session_present=True,
            lowered_topics=("a/b",) if is_lowered else (),
        )
    )

    assert [gap[2] for gap in gaps()] == ["qos_0"]


# -- shown ---------------------------------------------------------------------


def a_gap(site, ended_at: datetime = NOON) -> SuspectedGap:
    return SuspectedGap.objects.create(
        connection=services.connection_of(site),
        began_at=ended_at - MINUTE,
        ended_at=ended_at,
        cause=GapCause.SESSION_LOST,
        detail="why",
    )


def test_the_api_lists_them_the_newest_first(viewer, north):
    a_gap(north, NOON - MINUTE)
    a_gap(north)

    body = client_of(viewer).get(f"/api/v1/mqtt/sites/{north.pk}/gaps/").json()

    assert body["count"] == 2
    assert body["gaps"][0] == {
        "began_at": "2026-11-21T11:59:00Z",
        "ended_at": "2026-11-21T12:00:00Z",
        "cause": "session_lost",
        "detail": "why",
    }


def test_a_stranger_learns_of_no_gap(outsider, hidden):
    a_gap(hidden)

    answer = client_of(outsider).get(f"/api/v1/mqtt/sites/{hidden.pk}/gaps/")

    assert answer.status_code == 404


def test_the_state_of_a_connection_has_its_last_gap(viewer, north):
    a_gap(north, NOON - MINUTE)
    a_gap(north)

    body = client_of(viewer).get(f"/api/v1/mqtt/sites/{north.pk}/status/").json()

    assert body["last_gap"]["ended_at"] == "2026-11-21T12:00:00Z"


def test_the_command_warns_of_a_gap_for_a_day_and_of_what_is_unexplained(
    superuser, north
):
    a_gap(north)
    stats = services.connection_of(north).stats
    stats.received, stats.stored = 10, 7
    stats.save()
    found = connection_statuses(superuser)

    told = doubts(found, NOON + timedelta(hours=23))
    later = doubts(found, NOON + timedelta(hours=25))

    assert told == [
        f"{north.code}: 3 messages are unexplained",
        f"{north.code} may miss messages from 2026-11-21T11:59:00Z to "
        "2026-11-21T12:00:00Z: session_lost (why)",
    ]
    assert later == told[:1]
