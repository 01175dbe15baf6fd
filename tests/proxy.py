"""A TCP proxy that spoils a connection: for in front of a broker, PostgreSQL, Valkey.

All proxies of a process live on one event loop in a thread of its own; every method
may be called from any other thread and has happened when it returns.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Literal

CHUNK = 65_536
Way = Literal["both", "up", "down"]  # up: from the client to the server


@dataclass(frozen=True, slots=True)
class Mood:
    """What is done to bytes on their way; without a fault they pass as they come."""

    latency_s: float = 0.0  # each piece waits so long, and holds up those behind it
    slice_bytes: int = 0  # at most so many bytes at once
    slice_gap_s: float = 0.0
    bytes_per_s: float = 0.0
    is_paused: bool = False  # nothing is read: the senders' windows fill
    swallow: frozenset[str] = frozenset()  # ways on which bytes vanish: half-open
    refuse: bool = False  # new connections are reset


class _Pair:
    """A client's connection and ours to the server, with two pumps between them."""

    def __init__(
        self,
        proxy: Proxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.proxy = proxy
        self.client = client
        self.server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.lost: set[str] = set()  # ways on which bytes are missing, for ever
        self.tasks: list[asyncio.Task[None]] = []
        self.is_closed = False

    async def run(self) -> None:
        try:
            self.server = await asyncio.open_connection("127.0.0.1", self.proxy.target)
        except OSError:
            self.close(with_reset=True)
            return
        self.proxy.writers.add(self.server[1])
        try:
            if not self.is_closed:  # meanwhile
                await self._pass_on(self.server)
        except (OSError, asyncio.CancelledError):
            pass  # one end is gone: so is the other
        finally:
            self.close()

    async def _pass_on(
        self, server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        for _, writer in (self.client, server):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tasks = [
            asyncio.ensure_future(self._pump("up", self.client[0], server[1])),
            asyncio.ensure_future(self._pump("down", server[0], self.client[1])),
        ]
        await asyncio.gather(*self.tasks)

    async def _pump(
        self, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while True:
            await self.proxy.pass_on.wait()
            data = await source.read(CHUNK)
            if not data:
                if way in self.lost or way in self.proxy.mood.swallow:
                    self.lost.add(way)
                    await asyncio.Event().wait()  # a FIN would be lost as well
                raise ConnectionResetError
            await self.proxy.pass_on.wait()
            mood = self.proxy.mood
            if way in self.lost or way in mood.swallow:
                self.lost.add(way)
                continue
            await self._send(data, sink)
            self.proxy.passed[way] += len(data)

    async def _send(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        start = 0
        while start < len(data):
            mood = self.proxy.mood
            size = mood.slice_bytes or len(data)
            if mood.bytes_per_s:
                size = min(size, max(1, int(mood.bytes_per_s / 10)))
            piece = data[start : start + size]
            start += size
            if mood.latency_s:
                await asyncio.sleep(mood.latency_s)
            sink.write(piece)
            await sink.drain()
            if mood.slice_gap_s:
                await asyncio.sleep(mood.slice_gap_s)
            if mood.bytes_per_s:
                await asyncio.sleep(len(piece) / mood.bytes_per_s)

    def close(self, *, with_reset: bool = False) -> None:
        self.is_closed = True
        for task in self.tasks:
            task.cancel()
        for end in (self.client, self.server):
            if end is None:
                continue
            writer = end[1]
            if with_reset:
                linger = struct.pack("ii", 1, 0)  # RST in the place of FIN
                sock = writer.get_extra_info("socket")
                if sock is not None and sock.fileno() != -1:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort() if with_reset else writer.close()


class Proxy:
    """Listens on a port of 127.0.0.1 for one server."""

    def __init__(self, target: int, *, port: int = 0) -> None:
        """Prepare a proxy; `port` 0 for a free one."""
        self.target = target
        self.port = port
        self.mood = Mood()
        self.accepted = 0  # connections so far
        self.passed = {"up": 0, "down": 0}  # bytes
        self.pass_on = asyncio.Event()
        self._pairs: set[_Pair] = set()
        self._is_stopped = False
        self.writers: set[asyncio.StreamWriter] = set()  # all that may be open
        self._server: asyncio.Server | None = None

    def start(self) -> Proxy:
        _on_loop(self._start)
        return self

    def stop(self) -> None:
        _on_loop(self._stop)

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def open_connections(self) -> int:
        return len(self._pairs)

    # -- faults ----------------------------------------------------------------

    def slow(
        self,
        *,
        latency_s: float = 0.0,
        slice_bytes: int = 0,
        slice_gap_s: float = 0.0,
        bytes_per_s: float = 0.0,
    ) -> None:
        """Delay, cut into pieces, or throttle what passes."""
        self._change(
            latency_s=latency_s,
            slice_bytes=slice_bytes,
            slice_gap_s=slice_gap_s,
            bytes_per_s=bytes_per_s,
        )

    def pause(self) -> None:
        """Pass nothing on; what is sent meanwhile arrives after `heal`."""
        self._change(is_paused=True)

    def go_silent(self, way: Way = "both") -> None:
        """Lose what is sent, with no end noticing: half-open connections.

        A connection that lost bytes is reset by `heal`, as by a firewall that has
        forgotten it.
        """
        ways = frozenset({"up", "down"} if way == "both" else {way})
        self._change(swallow=ways)

    def refuse(self) -> None:
        """Reset all connections and every new one."""
        self._change(refuse=True)
        self.reset()

    def reset(self) -> None:
        """Reset all connections; new ones are taken."""
        _on_loop(lambda: self._end_all(with_reset=True))

    def cut(self) -> None:
        """Close all connections as a process that ends would; new ones are taken."""
        _on_loop(lambda: self._end_all(with_reset=False))

    def heal(self) -> None:
        """Let everything pass again."""

        async def work() -> None:
            self.mood = Mood()
            for pair in list(self._pairs):
                if pair.lost:
                    pair.close(with_reset=True)
            self.pass_on.set()

        _on_loop(work)

    # -- on the loop -----------------------------------------------------------

    def _change(self, **fields: object) -> None:
        async def work() -> None:
            self.mood = replace(self.mood, **fields)  # type: ignore[arg-type]
            if self.mood.is_paused:
                self.pass_on.clear()

        _on_loop(work)

    async def _start(self) -> None:
        self.pass_on.set()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, backlog=1_000
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._is_stopped = True
        if self._server is not None:
            # A connection that was just taken must become a transport first: asyncio
            # (3.11) else leaks it.
            for sock in self._server.sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())
            for _ in range(3):
                await asyncio.sleep(0)
            self._server.close()
        await self._end_all(with_reset=False)
        for writer in self.writers:
            writer.transport.abort()  # also of a pair that was just being made

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._is_stopped:
            writer.transport.abort()
            return
        self.writers = {w for w in self.writers if not w.transport.is_closing()}
        self.writers.add(writer)
        self.accepted += 1
        pair = _Pair(self, (reader, writer))
        if self.mood.refuse:
            pair.close(with_reset=True)
            return
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)

    async def _end_all(self, *, with_reset: bool) -> None:
        for pair in list(self._pairs):
            pair.close(with_reset=with_reset)
        self._pairs.clear()


class _Loop:
    """The event loop, started with the first proxy; it ends with the process."""

    loop: asyncio.AbstractEventLoop | None = None
    lock = threading.Lock()


def _on_loop(work: Callable[[], Awaitable[None]]) -> None:
    """Have something done on the loop, and wait for it."""
    with _Loop.lock:
        if _Loop.loop is None:
            _Loop.loop = asyncio.new_event_loop()
            threading.Thread(
                target=_Loop.loop.run_forever, name="proxies", daemon=True
            ).start()
    done: Future[None] = asyncio.run_coroutine_threadsafe(_await(work), _Loop.loop)
    done.result(10)


async def _await(work: Callable[[], Awaitable[None]]) -> None:
    await work()
