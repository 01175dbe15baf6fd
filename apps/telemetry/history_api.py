"""A datalogger's history over HTTP, out and in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import refuse
from apps.core.parsing import BodyTooLargeError, FormatIsOurs, read_query
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors
from apps.devices.models import SensorDevice
from apps.devices.selectors import visible_datalogger
from apps.telemetry.api import (
    JSON_CAP,
    all_lines,
    as_json,
    names_of,
    points,
    question_of,
    some_lines,
)
from apps.telemetry.csv_import import import_bytes
from apps.telemetry.downloads import csv_download
from apps.telemetry.pieces import before
from apps.telemetry.serializers import (
    HistoryQuery,
    HistorySerializer,
    ImportResultSerializer,
)

if TYPE_CHECKING:
    from django.http import HttpResponseBase
    from rest_framework.request import Request

    from apps.telemetry.series import Line

DEFAULT_RANGE = timedelta(hours=24)
MAX_IMPORT_BYTES = (
    10_000_000  # about 250,000 readings; more by manage.py import_history
)

_DATALOGGER = OpenApiParameter(
    "datalogger_id", OpenApiTypes.INT64, OpenApiParameter.PATH
)


class DataloggerHistory(APIView):
    content_negotiation_class = FormatIsOurs

    @extend_schema(
        operation_id="datalogger_history",
        summary="The readings of all sensors of a datalogger",
        description=(
            f"JSON holds at most {JSON_CAP} rows of all sensors together, the oldest. "
            "CSV has the columns at,sensor_id,key,value (or a column a figure), sensor "
            "by sensor, and every row; with interval=raw it is what the import takes."
        ),
        parameters=[HistoryQuery, _DATALOGGER],
        responses={
            (200, "application/json"): HistorySerializer,
            (200, "text/csv"): OpenApiTypes.STR,
            **errors(400, 401, 404, 422),
        },
    )
    def get(self, request: Request, datalogger_id: int) -> HttpResponseBase:
        datalogger = visible_datalogger(request.user, datalogger_id)
        query = read_query(HistoryQuery, request)
        until = query.get("to") or timezone.now()
        query.setdefault("from", before(until, DEFAULT_RANGE))
        sensors = list(
            SensorDevice.objects.filter(datalogger=datalogger).order_by("key")
        )
        question = question_of(
            (sensor.pk for sensor in sensors), datalogger.site_id, query
        )
        names = names_of(question)
        if query["format"] == "csv":
            keys = {sensor.pk: (sensor.pk, sensor.key) for sensor in sensors}
            return csv_download(
                request._request,
                name=f"datalogger-{datalogger.pk}.csv",
                columns=["at", "sensor_id", "key", *names],
                chunks=all_lines(question),
                whose=keys.__getitem__,
            )
        lines, count = some_lines(question, limit=JSON_CAP)
        by_sensor: dict[int, list[Line]] = {row.pk: [] for row in sensors}
        for line in lines:
            by_sensor[line[0]].append(line)
        return as_json(
            {
                "datalogger_id": datalogger.pk,
                "interval": question.interval,
                "agg": ",".join(question.figures),
                "from": query["from"],
                "to": until,
                "sensors": [
                    {
                        "id": sensor.pk,
                        "key": sensor.key,
                        "label": str(sensor),
                        "unit_of_measure": sensor.unit_of_measure,
                        "readings": points(by_sensor[sensor.pk], names),
                    }
                    for sensor in sensors
                ],
                "count": count,
                "truncated": count > len(lines),
            }
        )


class CsvParser(BaseParser):
    """A CSV file as the body, of bounded size."""

    media_type = "text/csv"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Mapping[str, bytes]:
        return {"file": stream.read(MAX_IMPORT_BYTES + 1)}


class HistoryImport(APIView):
    content_negotiation_class = FormatIsOurs
    parser_classes = (CsvParser, MultiPartParser)

    @extend_schema(
        operation_id="history_import",
        summary="Store readings from a CSV file",
        description=(
            "Columns at,key,value (as the export has them), or at and a column a "
            "sensor key. All lines are stored or none; at most 10 MB. Sensors that are "
            "not there are made, at most 1,000. Current values only move forward, "
            "presence stays. A refusal names the first 20 lines in `fields`."
        ),
        request={
            "text/csv": OpenApiTypes.STR,
            "multipart/form-data": {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}},
                "required": ["file"],
            },
        },
        parameters=[_DATALOGGER],
        responses={
            200: ImportResultSerializer,
            **errors(400, 401, 403, 404, 413, 415),
        },
    )
    def post(self, request: Request, datalogger_id: int) -> Response:
        datalogger = visible_datalogger(request.user, datalogger_id)
        require(is_superuser(request.user))
        content = _content(request)
        if len(content) > MAX_IMPORT_BYTES:
            raise BodyTooLargeError(MAX_IMPORT_BYTES)
        result = import_bytes(datalogger, content)
        return Response(ImportResultSerializer(result).data)


def _content(request: Request) -> bytes:
    data: Any = request.data
    file = data.get("file")
    if isinstance(file, UploadedFile):
        file = file.read(MAX_IMPORT_BYTES + 1)
    if not isinstance(file, bytes):
        refuse("file", _("Send the CSV file as the body or as the field 'file'"))
    return file
