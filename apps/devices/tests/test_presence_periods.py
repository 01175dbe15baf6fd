"""When a datalogger was there, over HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.devices import presence_api
from apps.devices.models import Datalogger, PresencePeriod


@pytest.fixture
def row(north) -> Datalogger:
    return Datalogger.objects.create(site=north, type="monstro", number="15")


def spell(row, presence, start_h, end_h=None, cause=""):
    now = timezone.now()
    return PresencePeriod.objects.create(
        datalogger=row,
        presence=presence,
        cause=cause,
        started_at=now - timedelta(hours=start_h),
        ended_at=None if end_h is None else now - timedelta(hours=end_h),
    )


def ask(user, row, **query):
    url = f"/api/v1/mqtt/dataloggers/{row.pk}/presence/"
    return client_of(user).get(url, query)


def test_it_tells_the_periods_that_reach_into_the_range_oldest_first(row, viewer):
    spell(row, "online", 90, 30)
    spell(row, "offline", 30, 20, "silence")
    spell(row, "unknown", 20, 3)
    spell(row, "online", 3)

    body = ask(viewer, row).json()

    found = [(p["presence"], p["cause"], p["ended_at"]) for p in body["periods"]]
    assert [(one, cause) for one, cause, _ in found] == [
        ("offline", "silence"),
        ("unknown", ""),
        ("online", ""),
    ]
    assert found[-1][2] is None
    assert body["truncated"] is False


def test_it_leaves_out_what_ended_before_and_what_began_after(row, viewer):
    spell(row, "online", 90, 30)
    spell(row, "offline", 30, 20, "will")
    now = timezone.now()

    body = ask(
        viewer,
        row,
        **{
            "from": (now - timedelta(hours=60)).isoformat(),
            "to": (now - timedelta(hours=40)).isoformat(),
        },
    ).json()

    assert [period["presence"] for period in body["periods"]] == ["online"]


def test_it_leaves_out_a_period_without_length(row, viewer):
    spell(row, "offline", 2, 2)
    PresencePeriod.objects.update(ended_at=PresencePeriod.objects.get().started_at)

    assert ask(viewer, row).json()["periods"] == []


def test_it_keeps_the_newest_of_too_many(row, viewer, monkeypatch):
    monkeypatch.setattr(presence_api, "PERIODS_CAP", 2)
    for hour in (9, 8, 7):
        spell(row, "offline", hour, hour - 1)

    body = ask(viewer, row).json()

    assert len(body["periods"]) == 2
    assert body["truncated"] is True


@pytest.mark.parametrize(
    "query",
    [{"from": "soon"}, {"to": "2026-02-30T00:00:00Z"}, {"to": "2001-01-01T00:00:00Z"}],
)
def test_it_refuses_times_that_are_none(row, viewer, query):
    answer = ask(viewer, row, **query)

    assert answer.status_code == 400
    assert is_error(answer.json())


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_it_takes_the_ends_of_the_calendar(row, viewer, year):
    spell(row, "online", 1)

    answer = ask(viewer, row, **{"from": f"{year}-06-01T00:00:00Z"})

    assert answer.status_code == 200


def test_a_hidden_datalogger_is_not_there(hidden, outsider):
    row = Datalogger.objects.create(site=hidden, type="monstro", number="1")

    assert ask(outsider, row).status_code == 404
