"""Many streams at once: what they cost, and that nobody misses anything."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from apps.core import asgi, events, sse
from apps.core.tests.streaming import EventClient, own_valkey, wait_for, web_server
from apps.sites.models import Site
from embedded.ports import LOOPBACK

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def port(settings: Settings, tmp_path: Path) -> Iterator[int]:
    with own_valkey(settings, tmp_path), web_server() as port:
        yield port


def session_key_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    key = client.session.session_key
    assert key
    return key


def other_database_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"  # autovacuum comes by as well
        )
        (count,) = cursor.fetchone()
    return int(count)


class Readers:
    """Many clients on one event loop of a thread of their own."""

    def __init__(self, port: int, path: str, session_key: str, count: int) -> None:
        self._request = (
            f"GET {path} HTTP/1.0\r\nHost: localhost\r\n"
            f"Cookie: sessionid={session_key}\r\n\r\n"
        ).encode()
        self._port, self._count = port, count
        self.numbers: list[list[int]] = [[] for _ in range(count)]
        self.delays: list[float] = []
        self.opened = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read_all()))

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._is_over.set)
        self._thread.join()

    async def _read_all(self) -> None:
        self._loop, self._is_over = asyncio.get_running_loop(), asyncio.Event()
        tasks = [asyncio.create_task(self._read(n)) for n in range(self._count)]
        await self._is_over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, n: int) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        try:
            writer.write(self._request)
            event = b""
            async for line in reader:
                if line.startswith(b"retry:"):
                    self.opened += 1
                elif line.startswith(b"event:"):
                    event = line[6:].strip()
                elif line.startswith(b"data:") and event == b"telemetry":
                    number, sent_at = line[5:].strip(b' {}\n"s:').split(b",")
                    self.numbers[n].append(int(number))
                    self.delays.append(time.monotonic() - float(sent_at))
        finally:
            writer.close()


def test_open_streams_hold_no_thread_and_no_database_connection(
    port: int, north: Site, viewer: User
) -> None:
    headers = {"Cookie": f"sessionid={session_key_of(viewer)}"}
    threads = threading.active_count()
    path = f"/events/sites/{north.pk}/"

    with Readers(port, path, session_key_of(viewer), 100) as readers:
        wait_for(lambda: readers.opened == 100)

        # The readers' own, and one for Django's signals; who began them ends later.
        wait_for(lambda: threading.active_count() <= threads + 2)
        wait_for(lambda: not other_database_connections())  # their processes end later
        assert len(sse.manager().streams) == 100
        with EventClient(port, "/events/status/", headers) as another:
            assert another.status == 200

    wait_for(lambda: not sse.manager().streams)


def test_clients_that_come_all_at_once_share_a_few_connections(
    port: int, viewer: User
) -> None:
    most = 0
    with Readers(port, "/events/status/", session_key_of(viewer), 200) as readers:
        while readers.opened < 200:
            most = max(most, other_database_connections())

    # One more of each may be on its way out.
    assert 0 < most <= 2 * asgi.ANSWERS_AT_ONCE


def test_a_recheck_leaves_no_database_connection_behind(
    port: int, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "RECHECK_EVERY_S", 0.1)
    headers = {"Cookie": f"sessionid={session_key_of(viewer)}"}
    with ExitStack() as stack:
        client = EventClient(port, "/events/status/", headers)
        stack.enter_context(client)
        (stream,) = sse.manager().streams
        opened_at = stream.checked_at

        wait_for(lambda: stream.checked_at > opened_at)

        wait_for(lambda: other_database_connections() == 0)
        assert client.is_open


def test_two_hundred_clients_get_five_events_a_second_each(
    port: int, north: Site, viewer: User
) -> None:
    path = f"/events/sites/{north.pk}/"
    channel = events.site_channel(north.pk)
    with Readers(port, path, session_key_of(viewer), 200) as readers:
        wait_for(lambda: readers.opened == 200)
        # On a busy machine the first try may have failed; then all are told to refetch.
        wait_for(lambda: sse.manager().hears)

        for n in range(25):
            assert events.emit([channel], "telemetry", {"s": f"{n},{time.monotonic()}"})
            time.sleep(0.2)
        wait_for(lambda: len(readers.delays) == 200 * 25)

    assert readers.numbers == [list(range(25))] * 200
    delays = sorted(readers.delays)
    assert delays[len(delays) // 2] < 1.0  # 10 ms here, and far more on a busy machine
