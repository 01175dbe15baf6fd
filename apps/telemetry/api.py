"""Readings over HTTP: JSON up to a cap, CSV without one."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.parsing import FormatIsOurs, iso_z, read_query
from apps.core.schema import errors
from apps.devices.selectors import visible_sensor
from apps.telemetry import series
from apps.telemetry.serializers import ReadingsQuery, ReadingsSerializer
from apps.telemetry.series import Point, Range

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase
    from rest_framework.request import Request

JSON_CAP = 100_000  # rows of one JSON answer, about 5 MB (CONTRACT §3)


class SensorReadings(APIView):
    content_negotiation_class = FormatIsOurs

    @extend_schema(
        operation_id="sensor_readings",
        summary="A sensor's readings, oldest first",
        description=(
            f"JSON holds at most {JSON_CAP} rows and says with `truncated` when it was "
            "cut. CSV has the columns at,value and every row."
        ),
        parameters=[
            ReadingsQuery,
            OpenApiParameter("sensor_id", OpenApiTypes.INT64, OpenApiParameter.PATH),
        ],
        responses={
            (200, "application/json"): ReadingsSerializer,
            (200, "text/csv"): OpenApiTypes.STR,
            **errors(400, 401, 404, 422),
        },
    )
    def get(self, request: Request, sensor_id: int) -> HttpResponseBase:
        sensor = visible_sensor(request.user, sensor_id)
        query = read_query(ReadingsQuery, request)
        span = Range(sensor.pk, query.get("from"), query.get("to"))
        agg = None if query["interval"] == "raw" else query["agg"]
        if query["format"] == "csv":
            chunks = series.stream(span) if agg is None else _one(span, agg)
            name = f"sensor-{sensor.pk}.csv"
            return _download(request._request, _csv_lines(chunks), name)
        if agg is None:
            return _raw(span)
        points = series.overall(span, agg)
        return _answer(points, count=len(points))


def _raw(span: Range) -> Response:
    points = series.head(span, limit=JSON_CAP)
    is_full = len(points) == JSON_CAP
    return _answer(points, count=series.count(span) if is_full else len(points))


def _answer(points: list[Point], *, count: int) -> Response:
    rows = [{"at": iso_z(point.at), "value": point.value} for point in points]
    # A retention may drop rows between the two questions: never count fewer than sent.
    count = max(count, len(rows))
    body = {"readings": rows, "count": count, "truncated": count > len(rows)}
    return Response(body)


def _one(span: Range, agg: str) -> Iterator[list[Point]]:
    yield series.overall(span, agg)


def _csv_lines(chunks: Iterator[list[Point]]) -> Generator[bytes]:
    """Yield the file in pieces; the first one is there before any row is read."""
    yield b"at,value\r\n"
    for points in chunks:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(
            (iso_z(point.at), _exact(point.value)) for point in points
        )
        yield text.getvalue().encode()


def _exact(value: float | str | None) -> float | str:
    return "" if value is None else value


def _download(
    request: HttpRequest, pieces: Generator[bytes], name: str
) -> StreamingHttpResponse:
    """Answer with a file that is never whole in memory.

    Under ASGI Django would first collect a synchronous iterator, so there it gets an
    asynchronous one.
    """
    is_async = isinstance(request, ASGIRequest)
    response = StreamingHttpResponse(
        _in_request_thread(pieces) if is_async else pieces,
        content_type="text/csv; charset=utf-8",
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


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
