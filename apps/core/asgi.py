"""The ASGI application: Django's, taught to hold thousands of open streams."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.http import FileResponse

from apps.core import sse, web_vitals
from apps.core.crew import Crew

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase

STREAMS = "/events/"
# A beginning takes milliseconds; a thousand clients that return at once wait in line.
BEGINNINGS_AT_ONCE = 4
# Some answers wait for a broker (10 s), so more than the processors could work on; each
# may need a database connection, and PostgreSQL has a hundred for everybody.
ANSWERS_AT_ONCE = 24
REST_S = 20.0


class StreamAwareHandler(ASGIHandler):
    """Django's handler, with three additions.

    Django gives each request a thread of its own until its response has ended: a stream
    here borrows one until it has begun (all synchronous middleware and the view in one
    go). Other requests borrow one as well, and find a database connection in it. And
    streams end when the server is told to exit, instead of holding it up for as long as
    it is willing to wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self._synchronous = BaseHandler()
        self._synchronous.load_middleware(is_async=False)
        self._beginners = Crew(BEGINNINGS_AT_ONCE, "stream-begin")
        self._crew = Crew(ANSWERS_AT_ONCE, "answer", rest_s=REST_S)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http" and _is_stream(scope):
            await self.handle(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        answer = partial(self._synchronous.get_response, request)
        crew = self._crew
        if request.path_info.startswith(STREAMS):
            await sse.manager().ready()
            crew = self._beginners
        response: HttpResponseBase = await crew.run(answer)
        # As Django's own: the sender of `request_finished`, and files in large pieces.
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        return response


def _is_stream(scope: Any) -> bool:  # noqa: ANN401 (ASGI)
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.startswith(STREAMS)


async def _live(receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
    await receive()
    for number in (signal.SIGTERM, signal.SIGINT):
        _before(number, sse.manager().close)
    ended = web_vitals.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    ended.set()
    await send({"type": "lifespan.shutdown.complete"})


def _before(number: signal.Signals, act: Callable[[], None]) -> None:
    """Have the loop call `act` on a signal that the server has a handler for.

    Servers announce the lifespan's end only after the last response has ended, which
    an open stream never does by itself.
    """
    theirs = signal.getsignal(number)
    if threading.current_thread() is not threading.main_thread() or not callable(
        theirs
    ):
        return
    loop = asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)
        theirs(number, frame)

    signal.signal(number, handle)
