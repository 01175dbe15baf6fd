"""Who watches the threads, and whom it never takes for stuck."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from kombu.exceptions import OperationalError

from workers.echo import DEAF_AFTER, Echo
from workers.watchdog import BROKEN, STUCK_AFTER, Watchdog


class Stage:
    """A watchdog over one thread, and the codes with which it ended the process."""

    def __init__(self) -> None:
        self.turns: Iterator[int] = count()
        self.deaf: list[int] = []
        self.is_over = False
        self.codes: list[int] = []
        self.watchdog = Watchdog(
            {"mqtt-writer": lambda: next(self.turns)},
            lambda: self.deaf,
            is_over=lambda: self.is_over,
            end=self.codes.append,
        )

    def look(self, times: int) -> list[int]:
        for _ in range(times):
            self.watchdog.look()
        return self.codes


class Standing:
    """Turns that never change."""

    def __next__(self) -> int:
        return 7

    def __iter__(self) -> Standing:
        return self


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_thread_that_makes_turns_is_left_alone(stage: Stage):
    assert stage.look(10 * STUCK_AFTER) == []


def test_a_thread_that_makes_no_turn_ends_the_process(stage: Stage):
    stage.turns = Standing()

    assert stage.look(STUCK_AFTER) == []
    assert stage.look(1) == [BROKEN]


def test_one_turn_is_enough_to_be_alive(stage: Stage):
    for _ in range(5):
        stage.turns = Standing()
        stage.look(STUCK_AFTER - 1)
        stage.turns = count(100)
        stage.look(1)

    assert stage.codes == []


def test_a_worker_that_hears_no_task_is_ended(stage: Stage):
    stage.deaf = [1]

    assert stage.look(1) == [BROKEN]


def test_a_thread_that_raises_ends_the_process(stage: Stage):
    def run() -> None:
        raise RuntimeError

    stage.is_over = True
    stage.watchdog.guard("mqtt-network", run)

    assert stage.codes == [BROKEN]


@pytest.mark.parametrize(("is_over", "codes"), [(False, [BROKEN]), (True, [])])
def test_a_thread_may_end_only_with_the_process(
    stage: Stage, *, is_over: bool, codes: list[int]
):
    stage.is_over = is_over

    stage.watchdog.guard("mqtt-network", lambda: None)

    assert stage.codes == codes


class Queue:
    """A queue of echoes that Redis takes, or refuses."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str]] = []
        self.is_away = False
        self.echo = Echo("me", self.send)

    def send(self, shard: int, owner: str) -> None:
        if self.is_away:
            raise OperationalError
        self.sent.append((shard, owner))

    def call(self, times: int, *shards: int) -> list[int]:
        for _ in range(times):
            self.echo.call(shards)
        return self.echo.deaf()


def test_echoes_that_never_come_are_deafness_of_their_shard():
    queue = Queue()
    for _ in range(DEAF_AFTER):
        queue.call(1, 0, 1)
        queue.echo.heard(0, "me")

    assert queue.echo.deaf() == [1]


def test_a_few_missing_echoes_prove_nothing():
    queue = Queue()

    assert queue.call(DEAF_AFTER - 1, 0) == []
    queue.echo.heard(0, "me")
    assert queue.call(DEAF_AFTER - 1, 0) == []


def test_another_owners_echo_says_nothing():
    queue = Queue()
    queue.call(DEAF_AFTER - 1, 0)

    queue.echo.heard(0, "my predecessor")

    assert queue.call(1, 0) == [0]


def test_an_outage_of_redis_is_no_deafness():
    queue = Queue()
    queue.call(DEAF_AFTER - 1, 0)

    queue.is_away = True
    assert queue.call(100, 0) == []
    queue.is_away = False

    assert queue.call(DEAF_AFTER - 1, 0) == []


def test_only_shards_that_are_ours_are_called():
    queue = Queue()
    queue.call(DEAF_AFTER - 1, 0, 1)

    assert queue.call(1, 1) == [1]  # shard 0 was lost meanwhile
    assert queue.call(1, 0, 1) == [1]  # and is new again
    assert queue.sent[-2:] == [(0, "me"), (1, "me")]
