"""The listener against a Valkey of its own that is killed, frozen and starved."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from apps.core import events, redis
from apps.core import listening as listening_module
from apps.core.listening import EventListener
from apps.core.tests.streaming import PATIENCE_S, own_valkey
from embedded.valkey import Valkey


@pytest.fixture
def valkey(settings: Settings, tmp_path: Path) -> Iterator[Valkey]:
    with own_valkey(settings, tmp_path) as valkey:
        yield valkey


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try may take its time, else a slow one looks like an outage."""
    monkeypatch.setattr(listening_module, "FIRST_TRY_S", 30.0)


class Heard:
    """What a listener told, in order: numbers of events, and "gap"."""

    def __init__(self) -> None:
        self.items: list[int | str] = []
        self.listener = EventListener(
            on_event=lambda _channel, _event, body: self.items.append(
                json.loads(body)["n"]
            ),
            on_gap=lambda: self.items.append("gap"),
        )

    async def wait_for(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0.02)

    async def emit(self, n: int) -> bool:
        return await asyncio.to_thread(events.emit, ["any"], "status", {"n": n})

    async def emit_until_heard(self, n: int) -> None:
        """An outage is over for the publisher before it is for the listener."""
        await self.wait_for(lambda: self.listener.hears)
        assert await self.emit(n)
        await self.wait_for(lambda: n in self.items)


@asynccontextmanager
async def listening() -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(heard.listener.run())
    try:
        await heard.listener.wait_until_tried()
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_it_hears_events_in_the_order_of_emission(valkey: Valkey) -> None:
    async def scenario() -> list[int | str]:
        async with listening() as heard:
            for n in range(200):
                await heard.emit(n)
            await heard.wait_for(lambda: len(heard.items) == 200)
            return heard.items

    items = asyncio.run(scenario())

    assert items == list(range(200))


def test_it_hears_again_after_each_kill_and_tells_of_one_gap(valkey: Valkey) -> None:
    async def scenario() -> list[int | str]:
        async with listening() as heard:
            await heard.emit_until_heard(1)
            for n in (2, 3):
                await asyncio.to_thread(valkey.kill)
                await heard.wait_for(lambda: not heard.listener.hears)
                await asyncio.to_thread(valkey.start)
                await heard.emit_until_heard(n)
            return heard.items

    items = asyncio.run(scenario())

    assert items == [1, "gap", 2, "gap", 3]


def test_it_leaves_a_frozen_redis_and_returns_with_one_gap(valkey: Valkey) -> None:
    async def scenario() -> list[int | str]:
        async with listening() as heard:
            await heard.emit_until_heard(1)
            valkey.freeze()
            await heard.wait_for(lambda: not heard.listener.hears)
            valkey.thaw()
            await heard.emit_until_heard(2)
            return heard.items

    items = asyncio.run(scenario())

    assert items == [1, "gap", 2]


def test_it_notices_when_redis_cuts_only_its_connection(valkey: Valkey) -> None:
    async def scenario() -> list[int | str]:
        async with listening() as heard:
            await heard.emit_until_heard(1)
            await asyncio.to_thread(
                redis.client().execute_command, "CLIENT", "KILL", "TYPE", "pubsub"
            )
            await heard.wait_for(lambda: "gap" in heard.items)
            await heard.emit_until_heard(2)
            return heard.items

    items = asyncio.run(scenario())

    assert items == [1, "gap", 2]


def test_it_returns_when_redis_drops_it_for_reading_too_slowly(valkey: Valkey) -> None:
    flood = "x" * 1_000_000

    def starve() -> None:
        client = redis.client()
        client.config_set("client-output-buffer-limit", "pubsub 100kb 0 0")
        for _ in range(60):  # more than the kernel's socket buffers hold
            client.publish(redis.events_channel(), flood)

    async def scenario() -> list[int | str]:
        async with listening() as heard:
            await heard.emit_until_heard(1)
            starve()  # on the loop: nothing is read meanwhile
            await heard.wait_for(lambda: "gap" in heard.items)
            await heard.emit_until_heard(2)
            return heard.items

    items = asyncio.run(scenario())

    assert items == [1, "gap", 2]


def test_it_tells_of_a_gap_when_redis_was_away_from_the_start(valkey: Valkey) -> None:
    valkey.stop()

    async def scenario() -> list[int | str]:
        async with listening() as heard:
            assert not heard.listener.hears
            await asyncio.to_thread(valkey.start)
            await heard.emit_until_heard(1)
            return heard.items

    items = asyncio.run(scenario())

    assert items == ["gap", 1]


def test_it_does_not_keep_anybody_waiting_for_a_frozen_redis(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_module, "FIRST_TRY_S", 1.5)
    valkey.freeze()

    async def scenario() -> float:
        started = time.monotonic()
        async with listening():
            return time.monotonic() - started

    assert asyncio.run(scenario()) < 15  # 1.5 s


def test_an_answer_in_the_very_turn_of_the_time_limit_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loop that was held up has both due at once."""
    monkeypatch.setattr(listening_module, "FIRST_TRY_S", 0.05)
    lost: list[bool] = []
    listener = EventListener(
        on_event=lambda *_: None,
        on_gap=lambda: None,
        on_lost=lambda: lost.append(True),
    )

    async def scenario() -> None:
        waiting = asyncio.create_task(listener.wait_until_tried())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.06, listener._note_hearing)
        time.sleep(0.2)  # it is held up
        await waiting

    asyncio.run(scenario())

    assert listener.hears
    assert lost == []


def test_it_passes_over_what_is_no_event(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> list[int | str]:
        async with listening() as heard:
            for stranger in ("", "[]", "{}", "null", "1", '{"channel": "any"}'):
                redis.client().publish(redis.events_channel(), stranger)
            await heard.emit_until_heard(1)
            return heard.items

    assert asyncio.run(scenario()) == [1]
    assert caplog.text.count("not an event") == 6


def test_it_does_not_hear_an_installation_with_another_database_number(
    valkey: Valkey, settings: Settings
) -> None:
    async def scenario() -> list[int | str]:
        async with listening() as heard:
            await heard.emit_until_heard(1)
            settings.REDIS_URL = valkey.url.removesuffix("/0") + "/1"
            redis.client().close()
            redis.client.cache_clear()
            assert await heard.emit(2)
            await asyncio.sleep(0.5)
            return heard.items

    assert asyncio.run(scenario()) == [1]


def test_it_logs_an_outage_once_and_its_end_once(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with listening() as heard:
            await asyncio.to_thread(valkey.kill)
            await asyncio.sleep(4)
            await asyncio.to_thread(valkey.start)
            await heard.emit_until_heard(1)

    with caplog.at_level(logging.INFO, logger="apps.core.listening"):
        asyncio.run(scenario())

    assert caplog.text.count("are not heard") == 1
    assert caplog.text.count("are heard again after") == 1
