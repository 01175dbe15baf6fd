"""Series as CSV, streamed: never whole in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse

from apps.core.parsing import iso_z

if TYPE_CHECKING:
    from django.http import HttpRequest

    from apps.telemetry.series import Line, Value


def csv_download(
    request: HttpRequest,
    *,
    name: str,
    columns: Sequence[str],
    chunks: Iterator[list[Line]],
    whose: Callable[[int], tuple[object, ...]] = lambda _: (),
) -> StreamingHttpResponse:
    """Answer with a file of lines `at`, what `whose` says of the sensor, and values.

    Under ASGI Django would first collect a synchronous iterator, so there it gets an
    asynchronous one.
    """
    pieces = _pieces(columns, chunks, whose)
    is_async = isinstance(request, ASGIRequest)
    response = StreamingHttpResponse(
        _in_request_thread(pieces) if is_async else pieces,
        content_type="text/csv; charset=utf-8",
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _pieces(
    columns: Sequence[str],
    chunks: Iterator[list[Line]],
    whose: Callable[[int], tuple[object, ...]],
) -> Generator[bytes]:
    """Yield the file in pieces; the first one is there before any row is read."""
    yield (",".join(columns) + "\r\n").encode()
    for lines in chunks:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(
            (iso_z(at), *whose(sensor_id), *map(_exact, values))
            for sensor_id, at, values in lines
        )
        yield text.getvalue().encode()


def _exact(value: Value) -> float | str:
    return "" if value is None else value


async def _in_request_thread(pieces: Generator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces, each made in the request's own thread.

    The database cursor belongs to that thread; when the client goes away the
    generator is closed there too, which ends the transaction.
    """
    next_piece = sync_to_async(lambda: next(pieces, None))
    try:
        while (piece := await next_piece()) is not None:
            yield piece
    finally:
        await sync_to_async(pieces.close)()
