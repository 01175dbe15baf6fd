"""A text sensor's changes over the API."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.core.tests.clients import client_of, is_error
from apps.telemetry.tests.test_api_readings import AT, sensor, store  # noqa: F401


@pytest.fixture
def ask(viewer, sensor):  # noqa: F811
    def get(query: str = ""):
        path = f"/api/v1/mqtt/sensors/{sensor.pk}/changes/?{query}"
        return client_of(viewer).get(path)

    return get


def told(answer):
    assert answer.status_code == 200, answer.content
    body = answer.json()
    return [(row["at"][11:16], row["value"]) for row in body["changes"]], body[
        "has_older"
    ]


def test_what_is_repeated_is_left_out(sensor, ask):  # noqa: F811
    store(sensor, "auto", "auto", "eco", "eco", 5.0, "eco", "auto")

    assert told(ask()) == (
        [("10:06", "auto"), ("10:02", "eco"), ("10:00", "auto")],
        False,
    )


def test_older_ones_are_asked_for_with_the_last_time(sensor, ask):  # noqa: F811
    store(sensor, "a", "b", "b", "c", "d")

    newest = ask("limit=2")
    older = ask(f"limit=2&to={newest.json()['changes'][-1]['at']}")

    assert told(newest) == ([("10:04", "d"), ("10:03", "c")], True)
    assert told(older) == ([("10:01", "b"), ("10:00", "a")], False)


def test_a_range_is_from_at_to_before(sensor, ask):  # noqa: F811
    store(sensor, "a", "b", "c")
    start, end = (AT + timedelta(minutes=n) for n in (1, 2))

    assert told(ask(f"from={start:%FT%TZ}&to={end:%FT%TZ}")) == (
        [("10:01", "b")],
        False,
    )


def test_two_texts_at_one_time_are_two_changes(sensor, ask):  # noqa: F811
    store(sensor, "a")
    store(sensor, "b")

    assert told(ask("limit=1")) == ([("10:00", "b")], True)
    assert told(ask()) == ([("10:00", "b"), ("10:00", "a")], False)


def test_numbers_alone_have_none(sensor, ask):  # noqa: F811
    store(sensor, 1.0, 2.0, None)

    assert told(ask()) == ([], False)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "to=x",
        "from=2026-11-21T10:00:00Z&to=2026-11-20T10:00:00Z",
    ],
)
def test_a_wrong_question_is_refused(ask, query):
    answer = ask(query)

    assert answer.status_code == 400
    assert is_error(answer.json())
