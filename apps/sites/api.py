"""Sites and their connections over HTTP: read, configure, start, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import IntegrityError
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import PageQuery, page, refuse
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors, page_of
from apps.sites import services
from apps.sites.models import ConnectionEvent, MqttConnection, Site, SuspectedGap
from apps.sites.selectors import (
    may_control,
    statuses_of,
    visible_connection,
    visible_connections,
    visible_site,
)
from apps.sites.serializers import (
    ConnectionSerializer,
    ControlSerializer,
    EventSerializer,
    GapSerializer,
    SiteSerializer,
    StatusSerializer,
)

if TYPE_CHECKING:
    from rest_framework.request import Request

EVENTS_LIMIT = 100  # changes of one page of the timeline


class SiteList(APIView):
    @extend_schema(
        operation_id="sites_list",
        summary="The sites you may see",
        parameters=[PageQuery],
        responses={200: page_of("sites", SiteSerializer), **errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        return page(
            request,
            Site.objects.visible_to(request.user),
            name="sites",
            shape=lambda rows: SiteSerializer(rows, many=True).data,
        )

    @extend_schema(
        operation_id="sites_create",
        summary="Create a site",
        request=SiteSerializer,
        responses={201: SiteSerializer, **errors(400, 401, 403)},
    )
    def post(self, request: Request) -> Response:
        require(is_superuser(request.user))
        form = SiteSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        try:
            site = services.site_create(**form.validated_data)
        except IntegrityError:  # somebody else took the code since it was checked
            refuse("code", _("A site with this code exists already"))
        return Response(SiteSerializer(site).data, status=status.HTTP_201_CREATED)


class SiteDetail(APIView):
    @extend_schema(
        operation_id="sites_read",
        summary="One site",
        responses={200: SiteSerializer, **errors(401, 404)},
    )
    def get(self, request: Request, site_id: int) -> Response:
        return Response(SiteSerializer(visible_site(request.user, site_id)).data)

    @extend_schema(
        operation_id="sites_update",
        summary="Change a site",
        description="A new code moves the site's topics; a running connection follows.",
        request=SiteSerializer(partial=True),
        responses={200: SiteSerializer, **errors(400, 401, 403, 404)},
    )
    def patch(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        form = SiteSerializer(site, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        try:
            site = services.site_update(site, fields=form.validated_data)
        except IntegrityError:
            refuse("code", _("A site with this code exists already"))
        return Response(SiteSerializer(site).data)

    @extend_schema(
        operation_id="sites_delete",
        summary="Delete a site with its devices",
        responses={204: OpenApiResponse(description="Gone"), **errors(401, 403, 404)},
    )
    def delete(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        services.site_delete(site)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConnectionSettings(APIView):
    """The settings of a site's connection, for superusers."""

    @extend_schema(
        operation_id="connection_read",
        summary="Settings of a site's connection",
        responses={200: ConnectionSerializer, **errors(401, 403, 404)},
    )
    def get(self, request: Request, site_id: int) -> Response:
        return Response(ConnectionSerializer(self._connection(request, site_id)).data)

    @extend_schema(
        operation_id="connection_replace",
        summary="Replace the settings",
        description="What is left out gets its default; secrets left out are kept.",
        request=ConnectionSerializer,
        responses={200: ConnectionSerializer, **errors(400, 401, 403, 404)},
    )
    def put(self, request: Request, site_id: int) -> Response:
        return self._configure(request, site_id, partial=False)

    @extend_schema(
        operation_id="connection_update",
        summary="Change some settings",
        request=ConnectionSerializer(partial=True),
        responses={200: ConnectionSerializer, **errors(400, 401, 403, 404)},
    )
    def patch(self, request: Request, site_id: int) -> Response:
        return self._configure(request, site_id, partial=True)

    def _connection(self, request: Request, site_id: int) -> MqttConnection:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        return services.connection_of(site)

    def _configure(self, request: Request, site_id: int, *, partial: bool) -> Response:
        connection = self._connection(request, site_id)
        form = ConnectionSerializer(connection, data=request.data, partial=partial)
        form.is_valid(raise_exception=True)
        given: dict[str, Any] = dict(form.validated_data)
        services.connection_configure(
            connection,
            password=given.pop("password", None),
            tls_client_key=given.pop("tls_client_key", None),
            topics=given.pop("topics", None),
            fields=given,
        )
        return Response(ConnectionSerializer(connection).data)


def _start(site: Site) -> Response:
    """Answer at once, in the words that clients of the documents compare with."""
    services.connection_start(site)
    return _done(
        f"Site {site.pk} enabled. Connection will be started by the monitor shortly."
    )


def _stop(site: Site) -> Response:
    services.connection_stop(site)
    return _done(
        f"Site {site.pk} disabled. Connection will be stopped by the monitor shortly."
    )


def _restart(site: Site) -> Response:
    services.connection_restart(site)
    return _done(
        f"Site {site.pk} enabled. Connection will be restarted by the monitor shortly."
    )


def _done(message: str) -> Response:
    return Response({"success": True, "message": message})


def _controlled_site(request: Request, site: Site) -> Site:
    require(may_control(request.user, site))
    return site


class StartSite(APIView):
    @extend_schema(
        operation_id="connection_start",
        summary="Start a site's connection",
        request=None,
        responses={200: ControlSerializer, **errors(401, 403, 404, 409)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        return _start(_controlled_site(request, visible_site(request.user, site_id)))


class StopSite(APIView):
    @extend_schema(
        operation_id="connection_stop",
        summary="Stop a site's connection",
        request=None,
        responses={200: ControlSerializer, **errors(401, 403, 404)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        return _stop(_controlled_site(request, visible_site(request.user, site_id)))


class RestartSite(APIView):
    @extend_schema(
        operation_id="connection_restart",
        summary="Have a site connect anew",
        description="The broker keeps the session; a stopped site is started.",
        request=None,
        responses={200: ControlSerializer, **errors(401, 403, 404, 409)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        return _restart(_controlled_site(request, visible_site(request.user, site_id)))


class EnableConnection(APIView):
    @extend_schema(
        operation_id="connection_enable",
        summary="Start a connection by its own id",
        request=None,
        responses={200: ControlSerializer, **errors(401, 403, 404, 409)},
    )
    def post(self, request: Request, connection_id: int) -> Response:
        row = visible_connection(request.user, connection_id)
        return _start(_controlled_site(request, row.site))


class DisableConnection(APIView):
    @extend_schema(
        operation_id="connection_disable",
        summary="Stop a connection by its own id",
        request=None,
        responses={200: ControlSerializer, **errors(401, 403, 404)},
    )
    def post(self, request: Request, connection_id: int) -> Response:
        row = visible_connection(request.user, connection_id)
        return _stop(_controlled_site(request, row.site))


class SiteStatus(APIView):
    @extend_schema(
        operation_id="connection_status",
        summary="State of a site's connection",
        responses={200: StatusSerializer, **errors(401, 404)},
    )
    def get(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        services.connection_of(site)
        [now] = statuses_of(
            request.user, list(visible_connections(request.user, [site.pk]))
        )
        return Response(StatusSerializer(now).data)


class ConnectionList(APIView):
    @extend_schema(
        operation_id="connections_list",
        summary="State of all the connections you may see",
        description="All of them in one answer, unless `limit` asks for pages.",
        parameters=[PageQuery],
        responses={200: page_of("connections", StatusSerializer), **errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        return page(
            request,
            visible_connections(request.user),
            name="connections",
            shape=lambda rows: (
                StatusSerializer(statuses_of(request.user, rows), many=True).data
            ),
            default_limit=None,
        )


class SiteEvents(APIView):
    @extend_schema(
        operation_id="connection_events",
        summary="Timeline of a site's connection, newest first",
        parameters=[PageQuery],
        responses={200: page_of("events", EventSerializer), **errors(400, 401, 404)},
    )
    def get(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        return page(
            request,
            ConnectionEvent.objects.filter(connection__site=site),
            name="events",
            shape=lambda rows: EventSerializer(rows, many=True).data,
            default_limit=EVENTS_LIMIT,
        )


class SiteGaps(APIView):
    @extend_schema(
        operation_id="connection_gaps",
        summary="When a site's messages may have been missed, newest first",
        description=(
            "Noted when a connection comes back: the broker no longer had the session, "
            "kept nothing by agreement, or more may have come than it keeps."
        ),
        parameters=[PageQuery],
        responses={200: page_of("gaps", GapSerializer), **errors(400, 401, 404)},
    )
    def get(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        return page(
            request,
            SuspectedGap.objects.filter(connection__site=site),
            name="gaps",
            shape=lambda rows: GapSerializer(rows, many=True).data,
            default_limit=EVENTS_LIMIT,
        )
