"""Gateways, dataloggers and sensors over HTTP; read only, they come by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import PageQuery, page
from apps.core.parsing import read_query
from apps.core.schema import errors, page_of
from apps.devices.models import SensorDevice
from apps.devices.selectors import (
    datalogger_states,
    gateway_states,
    sensor_state,
    visible_datalogger,
    visible_dataloggers,
    visible_gateways,
)
from apps.devices.serializers import (
    DataloggerSerializer,
    DataloggersQuery,
    GatewaySerializer,
    GatewaysQuery,
    SensorSerializer,
    SensorsQuery,
)
from apps.sites.selectors import visible_site

if TYPE_CHECKING:
    from rest_framework.request import Request

    from apps.sites.models import Site


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


class DataloggerDetail(APIView):
    @extend_schema(
        operation_id="datalogger_read",
        summary="One datalogger",
        responses={200: DataloggerSerializer, **errors(401, 404)},
    )
    def get(self, request: Request, datalogger_id: int) -> Response:
        row = visible_datalogger(request.user, datalogger_id)
        [state] = datalogger_states([row], now=timezone.now())
        return Response(DataloggerSerializer(state).data)


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
