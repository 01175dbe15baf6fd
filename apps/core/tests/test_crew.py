"""The threads that begin streams: how many, how they end, what they leave behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextvars import ContextVar

import pytest
from django.db import OperationalError, connection

from apps.core.crew import Crew
from apps.core.tests.streaming import wait_for

word: ContextVar[str] = ContextVar("word")


def test_it_returns_what_the_work_returns_and_raises_what_it_raises() -> None:
    async def scenario() -> None:
        crew = Crew(2, "test")

        assert await crew.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await crew.run(lambda: 1 // 0)
        assert await crew.run(lambda: 8) == 8

    asyncio.run(scenario())


def test_it_works_on_as_many_pieces_at_once_as_it_has_threads() -> None:
    at_once: list[int] = []
    running = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running
        with lock:
            running += 1
            at_once.append(running)
        time.sleep(0.01)
        with lock:
            running -= 1

    async def scenario() -> None:
        crew = Crew(3, "test")
        await asyncio.gather(*(crew.run(work) for _ in range(30)))

    asyncio.run(scenario())

    assert len(at_once) == 30
    assert max(at_once) == 3


def test_work_whose_caller_is_gone_does_not_begin() -> None:
    done: list[str] = []
    go = threading.Event()

    async def scenario() -> None:
        crew = Crew(1, "test")
        first = asyncio.create_task(crew.run(lambda: go.wait(10)))
        second = asyncio.create_task(crew.run(lambda: done.append("second")))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0.05)
        go.set()
        await first
        await crew.run(lambda: done.append("third"))

    asyncio.run(scenario())

    assert done == ["third"]


def test_the_work_sees_its_callers_context() -> None:
    async def scenario() -> str:
        word.set("hello")
        return await Crew(1, "test").run(word.get)

    assert asyncio.run(scenario()) == "hello"


def test_a_crew_that_nobody_needs_goes_home() -> None:
    crew: Crew | None = Crew(3, "soon-gone", rest_s=60)

    async def scenario() -> None:
        assert crew is not None
        await asyncio.gather(*(crew.run(lambda: time.sleep(0.05)) for _ in range(9)))

    asyncio.run(scenario())
    assert _threads_named("soon-gone") == 3

    crew = None
    gc.collect()

    wait_for(lambda: _threads_named("soon-gone") == 0)


def _threads_named(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


def test_who_has_rested_long_enough_goes_home_and_is_replaced() -> None:
    crew = Crew(2, "tired", rest_s=0.05)

    assert asyncio.run(crew.run(lambda: 1)) == 1
    wait_for(lambda: _threads_named("tired") == 0)

    assert asyncio.run(crew.run(lambda: 2)) == 2


def test_one_after_the_other_is_work_for_one() -> None:
    crew = Crew(8, "alone", rest_s=60)

    async def scenario() -> set[str]:
        return {
            await crew.run(lambda: threading.current_thread().name) for _ in range(20)
        }

    assert len(asyncio.run(scenario())) == 1


@pytest.mark.django_db(transaction=True)
def test_a_kept_connection_survives_a_restart_of_the_server() -> None:
    def backend() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        return int(pid)

    async def scenario() -> tuple[int, int, int]:
        crew = Crew(1, "kept", rest_s=60)
        before, again = await crew.run(backend), await crew.run(backend)
        await asyncio.to_thread(_end_backend, before)
        return before, again, await crew.run(backend)

    before, again, after = asyncio.run(scenario())

    assert before == again != after


def _end_backend(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    connection.close()
    wait_for(lambda: not _still_there({pid}))


@pytest.mark.django_db(transaction=True)
def test_connections_are_shared_in_a_queue_and_closed_in_the_quiet() -> None:
    def backend() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        return int(pid)

    async def scenario() -> list[int]:
        crew = Crew(2, "test")
        used = await asyncio.gather(*(crew.run(backend) for _ in range(40)))
        await asyncio.to_thread(wait_for, lambda: not _still_there(set(used)))
        return used

    used = asyncio.run(scenario())

    assert len(set(used)) <= 4  # two threads; a thread may find the queue empty once


def _still_there(pids: set[int]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [list(pids)]
        )
        (count,) = cursor.fetchone()
    connection.close()
    return bool(count)


@pytest.mark.django_db(transaction=True)
def test_a_broken_connection_does_not_spoil_the_next_work() -> None:
    def break_it() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    def use_it() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            (one,) = cursor.fetchone()
        return int(one)

    async def scenario() -> None:
        crew = Crew(1, "test")
        broken = asyncio.create_task(crew.run(break_it))
        fine = asyncio.gather(*(crew.run(use_it) for _ in range(3)))

        with pytest.raises(OperationalError):
            await broken
        assert await fine == [1, 1, 1]

    asyncio.run(scenario())
