"""The changes of a sensor that says texts, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.views import APIView

from apps.core.parsing import UtcTimeField, read_query
from apps.core.schema import errors
from apps.devices.selectors import visible_sensor
from apps.telemetry import changes
from apps.telemetry.api import as_json
from apps.telemetry.serializers import check_range
from apps.telemetry.series import Range

if TYPE_CHECKING:
    from django.http import HttpResponse
    from rest_framework.request import Request

MAX_CHANGES = 1_000


class ChangesQuery(serializers.Serializer[Any]):
    to = UtcTimeField(
        required=False, help_text="Before this time; without it up to the newest."
    )
    limit = serializers.IntegerField(default=200, min_value=1, max_value=MAX_CHANGES)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # `from` is a word of Python, so it cannot be declared as an attribute.
        text = "At or after this time; without it from the first."
        start = UtcTimeField(required=False, help_text=text)
        return {"from": start, **super().get_fields()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        check_range(attrs)
        return attrs


class ChangeSerializer(serializers.Serializer[Any]):
    at = UtcTimeField(help_text="From this time on it said so.")
    value = serializers.CharField()


class ChangesSerializer(serializers.Serializer[Any]):
    changes = ChangeSerializer(many=True)
    has_older = serializers.BooleanField(
        help_text="True: ask on with `to` as the time of the last one here."
    )


class SensorChanges(APIView):
    @extend_schema(
        operation_id="sensor_changes",
        summary="When a sensor said another text, the newest first",
        description=(
            "For sensors whose values are texts: a reading that repeats the one "
            "before it is left out. The oldest of the range counts as a change."
        ),
        parameters=[
            ChangesQuery,
            OpenApiParameter("sensor_id", OpenApiTypes.INT64, OpenApiParameter.PATH),
        ],
        responses={200: ChangesSerializer, **errors(400, 401, 404)},
    )
    def get(self, request: Request, sensor_id: int) -> HttpResponse:
        sensor = visible_sensor(request.user, sensor_id)
        query = read_query(ChangesQuery, request)
        span = Range((sensor.pk,), query.get("from"), query.get("to"))
        found, has_older = changes.newest(span, limit=query["limit"])
        body = [{"at": change.at, "value": change.value} for change in found]
        return as_json({"changes": body, "has_older": has_older})
