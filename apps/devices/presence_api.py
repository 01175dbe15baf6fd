"""When a datalogger was there, over HTTP: what charts are shaded with."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.parsing import UtcTimeField, read_query
from apps.core.schema import errors
from apps.devices.models import OfflineCause, Presence
from apps.devices.selectors import visible_datalogger
from apps.devices.uptime import periods

if TYPE_CHECKING:
    from rest_framework.request import Request

PERIODS_CAP = 1_000  # more than a screen has columns
DEFAULT_RANGE = timedelta(hours=24)


class PeriodsQuery(serializers.Serializer[Any]):
    to = UtcTimeField(required=False, help_text="Before this time; without it now.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # `from` is a word of Python, so it cannot be declared as an attribute.
        start = UtcTimeField(required=False, help_text="Without it 24 h before now.")
        return {"from": start, **super().get_fields()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        now = timezone.now()
        attrs.setdefault("from", now - DEFAULT_RANGE)
        attrs.setdefault("to", max(now, attrs["from"]))
        if attrs["to"] < attrs["from"]:
            raise serializers.ValidationError({"to": [_("'to' lies before 'from'")]})
        return attrs


class PeriodSerializer(serializers.Serializer[Any]):
    """A stretch of one presence; one that began before `from` is told whole."""

    presence = serializers.ChoiceField(Presence.choices)
    cause = serializers.ChoiceField(
        OfflineCause.choices, allow_blank=True, help_text="Empty unless offline."
    )
    started_at = UtcTimeField()
    ended_at = UtcTimeField(allow_null=True, help_text="null: it lasts.")


class PeriodsSerializer(serializers.Serializer[Any]):
    datalogger_id = serializers.IntegerField()
    periods = PeriodSerializer(
        many=True,
        help_text=(
            f"Oldest first, at most the newest {PERIODS_CAP}. Before the first one "
            "nothing is known."
        ),
    )
    truncated = serializers.BooleanField()


class DataloggerPresence(APIView):
    @extend_schema(
        operation_id="datalogger_presence",
        summary="When a datalogger was online, offline, or nobody knew",
        parameters=[PeriodsQuery],
        responses={200: PeriodsSerializer, **errors(400, 401, 404)},
    )
    def get(self, request: Request, datalogger_id: int) -> Response:
        row = visible_datalogger(request.user, datalogger_id)
        query = read_query(PeriodsQuery, request)
        found = list(periods(row.pk, query["from"], query["to"])[: PERIODS_CAP + 1])
        body = {
            "datalogger_id": row.pk,
            "periods": found[:PERIODS_CAP][::-1],
            "truncated": len(found) > PERIODS_CAP,
        }
        return Response(PeriodsSerializer(body).data)
