"""Emitting: what a publisher sees while Redis is there, away, or frozen."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from apps.core import events
from apps.core.tests.streaming import own_valkey
from embedded.valkey import Valkey


@pytest.fixture
def valkey(settings: Settings, tmp_path: Path) -> Iterator[Valkey]:
    with own_valkey(settings, tmp_path) as valkey:
        yield valkey


@pytest.fixture(autouse=True)
def _silence_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_logged_at", -math.inf)


def test_it_says_so_when_redis_is_away(valkey: Valkey) -> None:
    assert events.emit(["a"], "status", {}) is True
    valkey.kill()

    started = time.monotonic()
    was_sent = events.emit(["a", "b", "c"], "status", {})

    assert was_sent is False
    assert time.monotonic() - started < 3


def test_it_waits_for_a_frozen_redis_once_not_for_each_channel(valkey: Valkey) -> None:
    events.emit(["a"], "status", {})  # the connection is there already
    valkey.freeze()

    for _ in range(2):  # on the old connection, and on a new one
        started = time.monotonic()

        assert events.emit(list("abcdefghij"), "status", {}) is False
        assert time.monotonic() - started < 15  # two seconds; ten times that is 20


def test_the_first_event_after_an_outage_is_sent(valkey: Valkey) -> None:
    events.emit(["a"], "status", {})
    valkey.restart()

    assert events.emit(["a"], "status", {}) is True


def test_it_logs_at_most_one_line_in_ten_seconds(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.stop()

    for _ in range(50):
        events.emit(["a"], "status", {})

    assert len(caplog.records) == 1
    assert valkey.password not in caplog.text


@pytest.mark.parametrize(
    "data", [{"value": math.nan}, {"value": math.inf}, {"value": object()}]
)
def test_it_refuses_what_a_browser_could_not_read(
    data: dict[str, object], valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    assert events.emit(["a"], "telemetry", data) is False
    assert "cannot be written as JSON" in caplog.text
