"""A web server in this process, on real sockets, and a client that reads streams."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import uvicorn
from pytest_django.fixtures import Settings

from apps.core import redis
from apps.core.asgi import StreamAwareHandler
from embedded.ports import LOOPBACK
from embedded.valkey import Valkey

# Ten times what the slowest needs: six seconds, to find out that Redis is frozen.
PATIENCE_S = 60.0


@contextmanager
def own_valkey(settings: Settings, state_dir: Path) -> Iterator[Valkey]:
    """A Valkey that a test may stop and freeze, used by all of this process."""
    before = settings.REDIS_URL
    with Valkey(state_dir / "valkey") as valkey:
        settings.REDIS_URL = valkey.url
        redis.client.cache_clear()
        try:
            yield valkey
        finally:
            valkey.thaw()
            redis.client().close()
            # Else a thread that is late would make a client of this one again.
            settings.REDIS_URL = before
            redis.client.cache_clear()


@contextmanager
def web_server() -> Iterator[int]:
    """The ASGI application in a thread; gives its port."""
    config = uvicorn.Config(
        StreamAwareHandler(),
        host=LOOPBACK,
        port=0,
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="web")
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def wait_for(is_so: Callable[[], object], *, within: float = PATIENCE_S) -> None:
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Received:
    event: str
    data: Any


@dataclass
class EventClient:
    """A browser's EventSource, without the returning. A thread reads.

    Args:
        port: of the server.
        path: of the stream.
        headers: of the request.
    """

    port: int
    path: str
    headers: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._connection = http.client.HTTPConnection(
            LOOPBACK, self.port, timeout=PATIENCE_S
        )
        self._connection.request("GET", self.path, headers=self.headers)
        self.response = self._connection.getresponse()
        self.status = self.response.status
        self._received: queue.Queue[Received] = queue.Queue()
        self.comments = 0
        self.retry_ms = 0
        self.is_open = True
        self._socket = self._connection.sock
        self._reader: threading.Thread | None = None
        if self.status == 200:
            self._socket.settimeout(None)
            self._reader = threading.Thread(target=self._read)
            self._reader.start()
            wait_for(lambda: self.retry_ms)
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                assert not self.is_open
            self._reader.join()
        self.response.close()
        self._connection.close()

    def next(self, *, within: float = PATIENCE_S) -> Received:
        return self._received.get(timeout=within)

    def next_but(self, *passed_over: Received) -> Received:
        """What arrives next and is none of these."""
        while (found := self.next()) in passed_over:
            pass
        return found

    def all(self, *, during: float) -> list[Received]:
        """What arrives in the next so many seconds, and what has arrived already."""
        time.sleep(during)
        return [self._received.get_nowait() for _ in range(self._received.qsize())]

    def _read(self) -> None:
        event, data = "message", ""
        for line in self._lines():
            name, _, value = line.partition(": ")
            if not line:
                if data:
                    self._received.put(Received(event, json.loads(data)))
                event, data = "message", ""
            elif not name:
                self.comments += 1
            elif name == "event":
                event = value
            elif name == "data":
                data += value
            elif name == "retry":
                self.retry_ms = int(value)
        self.is_open = False

    def _lines(self) -> Iterator[str]:
        try:
            while line := self.response.readline():
                yield line.decode().rstrip("\n")
        except (http.client.HTTPException, OSError):
            return  # cut off, by the server or by us
