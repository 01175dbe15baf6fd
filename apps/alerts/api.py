"""Alerts for everyone who may see their sites; channels for superusers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError
from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.alerts import sending
from apps.alerts.models import Alert, AlertChannel
from apps.alerts.serializers import (
    AlertSerializer,
    AlertsQuery,
    ChannelSerializer,
    TestSerializer,
)
from apps.alerts.webhook import NotDeliveredError
from apps.core.api import PageQuery, page, refuse
from apps.core.parsing import read_query
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors, page_of
from apps.sites.selectors import visible_site

if TYPE_CHECKING:
    from rest_framework.request import Request


class AlertList(APIView):
    @extend_schema(
        operation_id="alerts_list",
        summary="Troubles of the sites you may see, the newest first",
        parameters=[AlertsQuery, PageQuery],
        responses={
            200: page_of("alerts", AlertSerializer),
            **errors(400, 401, 404),
        },
    )
    def get(self, request: Request) -> Response:
        query = read_query(AlertsQuery, request)
        rows = Alert.objects.visible_to(request.user)
        if "site_id" in query:
            rows = rows.filter(site=visible_site(request.user, query["site_id"]))
        if "open" in query:
            rows = rows.filter(closed_at__isnull=query["open"])
        return page(
            request,
            rows.select_related("site"),
            name="alerts",
            shape=lambda found: AlertSerializer(found, many=True).data,
            default_limit=100,
        )


class ChannelList(APIView):
    @extend_schema(
        operation_id="alert_channels_list",
        summary="Who is told of alerts",
        parameters=[PageQuery],
        responses={
            200: page_of("channels", ChannelSerializer),
            **errors(400, 401, 403),
        },
    )
    def get(self, request: Request) -> Response:
        require(is_superuser(request.user))
        return page(
            request,
            AlertChannel.objects.all(),
            name="channels",
            shape=lambda rows: ChannelSerializer(rows, many=True).data,
        )

    @extend_schema(
        operation_id="alert_channels_create",
        summary="Have somebody told",
        request=ChannelSerializer,
        responses={201: ChannelSerializer, **errors(400, 401, 403, 413)},
    )
    def post(self, request: Request) -> Response:
        require(is_superuser(request.user))
        form = ChannelSerializer(data=request.data)
        return Response(_saved(form), status=status.HTTP_201_CREATED)


class ChannelDetail(APIView):
    @extend_schema(
        operation_id="alert_channels_read",
        summary="One channel",
        responses={200: ChannelSerializer, **errors(401, 403, 404)},
    )
    def get(self, request: Request, channel_id: int) -> Response:
        return Response(ChannelSerializer(_channel(request, channel_id)).data)

    @extend_schema(
        operation_id="alert_channels_update",
        summary="Change a channel",
        description="What is left out stays as it is, also the secret.",
        request=ChannelSerializer(partial=True),
        responses={200: ChannelSerializer, **errors(400, 401, 403, 404, 413)},
    )
    def patch(self, request: Request, channel_id: int) -> Response:
        row = _channel(request, channel_id)
        return Response(_saved(ChannelSerializer(row, request.data, partial=True)))

    @extend_schema(
        operation_id="alert_channels_delete",
        summary="Tell them no more",
        responses={204: OpenApiResponse(description="Gone"), **errors(401, 403, 404)},
    )
    def delete(self, request: Request, channel_id: int) -> Response:
        _channel(request, channel_id).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class ChannelTest(APIView):
    @extend_schema(
        operation_id="alert_channels_test",
        summary="Send a test through a channel, now",
        description="`success` is false, with the cause, when it did not arrive.",
        request=None,
        responses={200: TestSerializer, **errors(401, 403, 404)},
    )
    def post(self, request: Request, channel_id: int) -> Response:
        channel = _channel(request, channel_id)
        try:
            sending.send_test(channel)
        except NotDeliveredError as error:
            return Response({"success": False, "message": error.words})
        return Response({"success": True, "message": "Test delivered"})


def _channel(request: Request, channel_id: int) -> AlertChannel:
    # The right comes first: that a channel exists is for superusers to know.
    require(is_superuser(request.user))
    row = AlertChannel.objects.filter(pk=channel_id).first()
    if row is None:
        raise Http404
    return row


def _saved(form: ChannelSerializer) -> dict[str, object]:
    form.is_valid(raise_exception=True)
    try:
        row = form.save_channel()
    except IntegrityError:  # the site was deleted since it was checked
        refuse("site_id", _("There is no such site"))
    return dict(ChannelSerializer(row).data)
