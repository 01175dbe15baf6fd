"""Discovery sessions over HTTP; what they find is in apps.telemetry.topics_api."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import PageQuery, page
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors, page_of
from apps.devices.discovery_serializers import DiscoverRequest, SessionSerializer
from apps.devices.discovery_sessions import session_start, session_state, session_stop
from apps.devices.models import DiscoverySession
from apps.sites.selectors import visible_site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rest_framework.request import Request

PAGE = 20


class Discover(APIView):
    @extend_schema(
        operation_id="discovery_sessions_list",
        summary="A site's discovery sessions, newest first",
        parameters=[PageQuery],
        responses={
            200: page_of("sessions", SessionSerializer),
            **errors(400, 401, 404),
        },
    )
    def get(self, request: Request, site_id: int) -> Response:
        return page(
            request,
            DiscoverySession.objects.filter(site=visible_site(request.user, site_id)),
            name="sessions",
            shape=_shaped,
            default_limit=PAGE,
        )

    @extend_schema(
        operation_id="discovery_start",
        summary="Listen to everything under the site's code for a while",
        description=(
            "On a connection of its own beside the site's, at QoS 0. What no decoder "
            "claims is listed under `topics/`, and announced live as `discovery` "
            "events of the site's stream. One session a site at a time."
        ),
        request=DiscoverRequest,
        responses={202: SessionSerializer, **errors(400, 401, 403, 404, 409, 413, 503)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        form = DiscoverRequest(data=request.data)
        form.is_valid(raise_exception=True)
        session = session_start(site, user=request.user, **form.validated_data)
        return Response(_shaped([session])[0], status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        operation_id="discovery_stop",
        summary="End the site's discovery session early",
        description="Also 204 when there is none.",
        responses={
            204: OpenApiResponse(description="No session runs"),
            **errors(401, 403, 404),
        },
    )
    def delete(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        session_stop(site, username=request.user.get_username())
        return Response(status=status.HTTP_204_NO_CONTENT)


def _shaped(rows: Sequence[DiscoverySession]) -> list[object]:
    now = timezone.now()
    states = [session_state(row, now=now) for row in rows]
    return list(SessionSerializer(states, many=True).data)
