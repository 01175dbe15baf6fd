"""Gateways, dataloggers and sensors over HTTP; they come by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import PageQuery, page
from apps.core.parsing import read_query
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors, page_of
from apps.devices import services
from apps.devices.models import Datalogger, Gateway, SensorDevice
from apps.devices.selectors import (
    datalogger_states,
    gateway_states,
    sensor_state,
    uptime_by_window,
    visible_datalogger,
    visible_dataloggers,
    visible_gateway,
    visible_gateways,
    visible_sensor,
)
from apps.devices.serializers import (
    DataloggerChangeSerializer,
    DataloggerDetailSerializer,
    DataloggerSerializer,
    DataloggersQuery,
    GatewayChangeSerializer,
    GatewaySerializer,
    GatewaysQuery,
    SensorChangeSerializer,
    SensorSerializer,
    SensorsQuery,
    UptimeQuery,
    UptimeSerializer,
)
from apps.devices.uptime import DAY, MONTH, outages, uptimes, window
from apps.sites.selectors import visible_site

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.serializers import Serializer

    from apps.sites.models import Site

OUTAGES_LIMIT = 100  # of one answer


def _chosen_site(request: Request, site_id: int | None) -> Site | None:
    return None if site_id is None else visible_site(request.user, site_id)


class DataloggerList(APIView):
    @extend_schema(
        operation_id="dataloggers_list",
        summary="The dataloggers you may see",
        parameters=[DataloggersQuery, PageQuery],
        responses={
            200: page_of("dataloggers", DataloggerSerializer),
            **errors(400, 401, 404),
        },
    )
    def get(self, request: Request) -> Response:
        query = read_query(DataloggersQuery, request)
        now = timezone.now()
        return page(
            request,
            visible_dataloggers(
                request.user,
                site=_chosen_site(request, query.get("site_id")),
                online_only=query["online_only"],
                search=query["search"],
            ),
            name="dataloggers",
            shape=lambda rows: (
                DataloggerSerializer(datalogger_states(rows, now=now), many=True).data
            ),
        )


def _changes(request: Request, form_of: type[Serializer[Any]]) -> dict[str, Any]:
    """Return what a superuser wants changed; raise the 403 or 400."""
    require(is_superuser(request.user))
    form = form_of(data=request.data, partial=True)
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


class DataloggerDetail(APIView):
    @extend_schema(
        operation_id="datalogger_read",
        summary="One datalogger",
        responses={200: DataloggerDetailSerializer, **errors(401, 404)},
    )
    def get(self, request: Request, datalogger_id: int) -> Response:
        return self._answer(visible_datalogger(request.user, datalogger_id))

    @extend_schema(
        operation_id="datalogger_update",
        summary="Name a datalogger, pin its version, set when it is offline",
        request=DataloggerChangeSerializer(partial=True),
        responses={
            200: DataloggerDetailSerializer,
            **errors(400, 401, 403, 404, 413),
        },
    )
    def patch(self, request: Request, datalogger_id: int) -> Response:
        row = visible_datalogger(request.user, datalogger_id)
        given = _changes(request, DataloggerChangeSerializer)
        try:
            row = services.device_update(row, given)
        except Datalogger.DoesNotExist as error:
            raise Http404 from error
        return self._answer(row)

    def _answer(self, row: Datalogger) -> Response:
        now = timezone.now()
        [state] = datalogger_states([row], now=now)
        body = DataloggerSerializer(state).data
        return Response({**body, "uptime": uptime_by_window(row, now=now)})


class DataloggerUptime(APIView):
    @extend_schema(
        operation_id="datalogger_uptime",
        summary="How long a datalogger was online, and its outages",
        description="Unknown time counts neither way.",
        parameters=[UptimeQuery],
        responses={200: UptimeSerializer, **errors(400, 401, 404)},
    )
    def get(self, request: Request, datalogger_id: int) -> Response:
        row = visible_datalogger(request.user, datalogger_id)
        query = read_query(UptimeQuery, request)
        month = query.get("month")
        now = timezone.now()
        asked = window(
            query.get("window", MONTH if month else DAY),
            now=now,
            zone=row.site.timezone,
            month=(int(month[:4]), int(month[5:])) if month else None,
        )
        [known] = uptimes([row.pk], [asked])[row.pk]
        found = outages(row.pk, asked)
        first = query["offset"]
        body = {
            "datalogger_id": row.pk,
            "window": asked.name,
            "from": asked.since,
            "to": asked.until,
            "uptime_percentage": known.percentage,
            "online_s": known.online_s,
            "offline_s": known.offline_s,
            "unknown_s": known.unknown_s,
            "outages": [
                {
                    "started_at": outage.started_at,
                    "ended_at": outage.ended_at,
                    "duration_s": max(
                        0.0,
                        ((outage.ended_at or now) - outage.started_at).total_seconds(),
                    ),
                    "cause": outage.cause,
                }
                for outage in found[first : first + query.get("limit", OUTAGES_LIMIT)]
            ],
            "outages_count": found.count(),
        }
        return Response(UptimeSerializer(body).data)


class SensorDetail(APIView):
    @extend_schema(
        operation_id="sensor_read",
        summary="One sensor with its current value",
        responses={200: SensorSerializer, **errors(401, 404)},
    )
    def get(self, request: Request, sensor_id: int) -> Response:
        row = visible_sensor(request.user, sensor_id)
        return Response(SensorSerializer(sensor_state(row)).data)

    @extend_schema(
        operation_id="sensor_update",
        summary="Name a sensor, say its type and unit",
        request=SensorChangeSerializer(partial=True),
        responses={200: SensorSerializer, **errors(400, 401, 403, 404, 413)},
    )
    def patch(self, request: Request, sensor_id: int) -> Response:
        row = visible_sensor(request.user, sensor_id)
        given = _changes(request, SensorChangeSerializer)
        try:
            services.sensor_update(row, given)
        except SensorDevice.DoesNotExist as error:
            raise Http404 from error
        return Response(SensorSerializer(sensor_state(row)).data)


class SensorsByDatalogger(APIView):
    @extend_schema(
        operation_id="sensors_by_datalogger",
        summary="A datalogger's sensors with their current values",
        description="All of them in one answer, unless `limit` asks for pages.",
        parameters=[SensorsQuery, PageQuery],
        responses={200: page_of("sensors", SensorSerializer), **errors(400, 401, 404)},
    )
    def get(self, request: Request) -> Response:
        query = read_query(SensorsQuery, request)
        datalogger = visible_datalogger(request.user, query["datalogger_id"])
        sensors = SensorDevice.objects.filter(datalogger=datalogger)
        return page(
            request,
            sensors.select_related("datalogger"),
            name="sensors",
            shape=lambda rows: (
                SensorSerializer([sensor_state(row) for row in rows], many=True).data
            ),
            default_limit=None,
        )


class GatewayList(APIView):
    @extend_schema(
        operation_id="gateways_list",
        summary="The gateways you may see",
        parameters=[GatewaysQuery, PageQuery],
        responses={
            200: page_of("gateways", GatewaySerializer),
            **errors(400, 401, 404),
        },
    )
    def get(self, request: Request) -> Response:
        query = read_query(GatewaysQuery, request)
        site = _chosen_site(request, query.get("site_id"))
        return page(
            request,
            visible_gateways(request.user, site),
            name="gateways",
            shape=lambda rows: GatewaySerializer(gateway_states(rows), many=True).data,
        )


class GatewayDetail(APIView):
    @extend_schema(
        operation_id="gateway_read",
        summary="One gateway",
        responses={200: GatewaySerializer, **errors(401, 404)},
    )
    def get(self, request: Request, gateway_id: int) -> Response:
        return self._answer(visible_gateway(request.user, gateway_id))

    @extend_schema(
        operation_id="gateway_update",
        summary="Name a gateway, set when it is offline",
        request=GatewayChangeSerializer(partial=True),
        responses={200: GatewaySerializer, **errors(400, 401, 403, 404, 413)},
    )
    def patch(self, request: Request, gateway_id: int) -> Response:
        row = visible_gateway(request.user, gateway_id)
        given = _changes(request, GatewayChangeSerializer)
        try:
            row = services.device_update(row, given)
        except Gateway.DoesNotExist as error:
            raise Http404 from error
        return self._answer(row)

    def _answer(self, row: Gateway) -> Response:
        [state] = gateway_states([row])
        return Response(GatewaySerializer(state).data)
