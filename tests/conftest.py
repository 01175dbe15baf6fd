from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from apps.alerts import sending
from apps.sites import publish_requests, trials
from embedded.broker import Broker
from tests.browser import (  # noqa: F401 (fixtures)
    chromium,
    cookies,
    new_page,
    page,
    problems,
)
from tests.full_site import full_site  # noqa: F401 (a fixture)
from tests.system import RUNNING, System

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each look at a status


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """Show what the processes said when a test of theirs fails."""
    report = yield
    if report.failed:
        report.sections += [part for system in RUNNING for part in system.last_words()]
    return report


@pytest.fixture
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that call everything: no worker is there, and nothing leaves here."""
    monkeypatch.setattr(trials, "TAKE_WITHIN_S", 0)
    monkeypatch.setattr(publish_requests, "QUEUE_S", 0)
    monkeypatch.setattr(sending, "send_test", lambda _channel: None)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system, one worker for both shards; tests share it, not its sites."""
    folder = tmp_path_factory.mktemp("system")
    with System(folder, workers={"mqtt0": "mqtt.shard.0,mqtt.shard.1"}) as running:
        yield running


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that stays up; take `own_broker` to harm one."""
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running
