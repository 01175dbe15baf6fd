"""Mappings over HTTP: read by who reads the site, written by superusers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import PageQuery, page, refuse
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors, page_of
from apps.devices.models import DiscoveredTopic
from apps.sites.selectors import visible_site
from apps.telemetry import mappings
from apps.telemetry.facts import Bad, Samples, SensorInfo
from apps.telemetry.mapping_serializers import (
    SOURCES,
    PreviewRequest,
    PreviewSerializer,
    TopicMappingSerializer,
)
from apps.telemetry.models import QuarantinedMessage, TopicMapping

if TYPE_CHECKING:
    from rest_framework.request import Request

    from apps.sites.models import Site

_NOTHING_SAID = SensorInfo()


class MappingList(APIView):
    @extend_schema(
        operation_id="mappings_list",
        summary="A site's mappings",
        parameters=[PageQuery],
        responses={
            200: page_of("mappings", TopicMappingSerializer),
            **errors(400, 401, 404),
        },
    )
    def get(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        return page(
            request,
            TopicMapping.objects.filter(site=site).order_by("pk"),
            name="mappings",
            shape=lambda rows: TopicMappingSerializer(rows, many=True).data,
        )

    @extend_schema(
        operation_id="mappings_create",
        summary="Make readings of messages that no decoder understands",
        description=(
            "For one topic, or for a version of native data messages. The datalogger "
            "and its sensors are made at once; workers use the mapping within two "
            "seconds. What waits in the quarantine is not read again by itself: replay "
            "it."
        ),
        request=TopicMappingSerializer,
        responses={201: TopicMappingSerializer, **errors(400, 401, 403, 404, 413)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        form = TopicMappingSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        row = mappings.mapping_create(site, **form.validated_data)
        body = TopicMappingSerializer(row).data
        return Response(body, status=status.HTTP_201_CREATED)


class MappingDetail(APIView):
    @extend_schema(
        operation_id="mappings_read",
        summary="One mapping",
        responses={200: TopicMappingSerializer, **errors(401, 404)},
    )
    def get(self, request: Request, site_id: int, mapping_id: int) -> Response:
        row = _mapping(visible_site(request.user, site_id), mapping_id)
        return Response(TopicMappingSerializer(row).data)

    @extend_schema(
        operation_id="mappings_update",
        summary="Change a mapping",
        description="`values`, where given, replaces all of them.",
        request=TopicMappingSerializer(partial=True),
        responses={200: TopicMappingSerializer, **errors(400, 401, 403, 404, 413)},
    )
    def patch(self, request: Request, site_id: int, mapping_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        row = _mapping(site, mapping_id)
        form = TopicMappingSerializer(row, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        row = mappings.mapping_update(row, fields=form.validated_data)
        return Response(TopicMappingSerializer(row).data)

    @extend_schema(
        operation_id="mappings_delete",
        summary="Delete a mapping; its readings stay",
        responses={204: OpenApiResponse(description="Gone"), **errors(401, 403, 404)},
    )
    def delete(self, request: Request, site_id: int, mapping_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        mappings.mapping_delete(_mapping(site, mapping_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class MappingPreview(APIView):
    @extend_schema(
        operation_id="mappings_preview",
        summary="What a mapping would make of a payload; nothing is stored",
        request=PreviewRequest,
        responses={200: PreviewSerializer, **errors(400, 401, 403, 404, 413)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        form = PreviewRequest(data=request.data)
        form.is_valid(raise_exception=True)
        fields = form.validated_data
        [(source, chosen)] = [(k, fields.pop(k)) for k in SOURCES if k in fields]
        row = TopicMapping(site=site, **fields)
        payload, received_at = _payload(site, row, source, chosen)
        fact = mappings.preview(row, payload, received_us=_us(received_at))
        return Response(PreviewSerializer(_shown(row, fact)).data)


def _mapping(site: Site, mapping_id: int) -> TopicMapping:
    row = TopicMapping.objects.filter(site=site, pk=mapping_id).first()
    if row is None:
        raise Http404
    return row


def _payload(
    site: Site, row: TopicMapping, source: str, chosen: int | str
) -> tuple[bytes, datetime]:
    """Return the bytes to try and when they came; a mapping for nothing is for these.

    Raises:
        ValidationError: the site has no such topic or message.
    """
    if source == "payload":
        return str(chosen).encode(), timezone.now()
    found: DiscoveredTopic | QuarantinedMessage | None
    if source == "topic_id":
        found = DiscoveredTopic.objects.filter(site=site, pk=chosen).first()
    else:
        found = QuarantinedMessage.objects.filter(site=site, pk=chosen).first()
    if found is None:
        refuse(source, _("The site has no such message"))
    if not row.topic and row.version is None:
        row.topic = found.topic
    if isinstance(found, DiscoveredTopic):
        return bytes(found.last_payload), found.last_seen
    return bytes(found.payload), found.received_at


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def _shown(row: TopicMapping, fact: Samples | Bad) -> dict[str, Any]:
    if isinstance(fact, Bad):
        return {
            "is_understood": False,
            "reason": fact.reason,
            "detail": fact.detail,
            "readings": [],
            "missing": [],
        }
    infos = fact.sensors or {}
    readings = [
        {
            "key": sample.key,
            **infos.get(sample.key, _NOTHING_SAID)._asdict(),
            "value": sample.value if sample.text is None else sample.text,
            "at": _moment(sample.measured_us),
        }
        for sample in fact.samples
    ]
    found = {sample.key for sample in fact.samples}
    return {
        "is_understood": True,
        "reason": "",
        "detail": "",
        "readings": readings,
        "missing": [v["key"] for v in row.values if v["key"] not in found],
    }


def _moment(us: int | None) -> datetime | None:
    return None if us is None else datetime.fromtimestamp(us / 1e6, UTC)
