"""The quarantine over HTTP: read by who reads the site, replayed by superusers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import PageQuery, page
from apps.core.parsing import read_query
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors, page_of
from apps.sites.selectors import visible_site
from apps.telemetry.models import QuarantinedMessage
from apps.telemetry.quarantine_serializers import (
    QuarantinedSerializer,
    QuarantineQuery,
    ReplayedSerializer,
    ReplayRequest,
    listed,
)
from apps.telemetry.replay import replay

if TYPE_CHECKING:
    from rest_framework.request import Request

PAGE = 100


class QuarantineList(APIView):
    @extend_schema(
        operation_id="quarantine_list",
        summary="A site's messages that could not be understood, newest first",
        parameters=[QuarantineQuery, PageQuery],
        responses={
            200: page_of("messages", QuarantinedSerializer),
            **errors(400, 401, 404),
        },
    )
    def get(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        query = read_query(QuarantineQuery, request)
        rows = QuarantinedMessage.objects.filter(site=site)
        if "reason" in query:
            rows = rows.filter(reason=query["reason"])
        if query["replayed"] is not None:
            rows = rows.filter(replayed_at__isnull=not query["replayed"])
        return page(
            request,
            listed(rows),
            name="messages",
            shape=lambda found: QuarantinedSerializer(found, many=True).data,  # type: ignore[arg-type]  # many=True
            default_limit=PAGE,
        )


class QuarantineDetail(APIView):
    @extend_schema(
        operation_id="quarantine_read",
        summary="A message that could not be understood, with all that was kept of it",
        responses={200: QuarantinedSerializer, **errors(401, 404)},
    )
    def get(self, request: Request, site_id: int, message_id: int) -> Response:
        site = visible_site(request.user, site_id)
        row = QuarantinedMessage.objects.filter(site=site, pk=message_id).first()
        if row is None:
            raise Http404
        return Response(QuarantinedSerializer(row).data)


class QuarantineReplay(APIView):
    @extend_schema(
        operation_id="quarantine_replay",
        summary="Read quarantined messages again, and store what is understood now",
        description=(
            "After a mapping was made, a version pinned or a decoder put right. Each "
            "message is stored once, however often this is called. Readings without a "
            "time of their own get the time at which the message came; no device's "
            "presence changes."
        ),
        request=ReplayRequest,
        responses={200: ReplayedSerializer, **errors(400, 401, 403, 404, 413)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        form = ReplayRequest(data=request.data)
        form.is_valid(raise_exception=True)
        result = replay(
            site,
            ids=form.validated_data.get("ids"),
            reason=form.validated_data.get("reason", ""),
        )
        return Response(ReplayedSerializer(result).data)
