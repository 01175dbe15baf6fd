"""Discovered topics over HTTP: read by who reads the site, decided by superusers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.api import PageQuery, page
from apps.core.parsing import read_query
from apps.core.permissions import is_superuser, require
from apps.core.schema import errors
from apps.devices.models import DiscoveredTopic
from apps.sites.models import ConnectionStats
from apps.sites.selectors import visible_site
from apps.telemetry.accepting import topic_decide, topic_forget
from apps.telemetry.models import TopicMapping
from apps.telemetry.topics_serializers import (
    DiscoveredTopicSerializer,
    TopicChange,
    TopicsQuery,
    topics_page,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rest_framework.request import Request

PAGE = 100


class TopicList(APIView):
    @extend_schema(
        operation_id="discovered_topics_list",
        summary="A site's discovered topics, last seen first",
        parameters=[TopicsQuery, PageQuery],
        responses={200: topics_page(), **errors(400, 401, 404)},
    )
    def get(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        query = read_query(TopicsQuery, request)
        rows = DiscoveredTopic.objects.filter(site=site)
        for name in ("state", "content_type"):
            if name in query:
                rows = rows.filter(**{name: query[name]})
        if query["search"]:
            rows = rows.filter(topic__icontains=query["search"])
        answer = page(request, rows, name="topics", shape=_shaped, default_limit=PAGE)
        stats = ConnectionStats.objects.filter(connection__site=site)
        dropped = stats.values_list("topics_dropped", flat=True).first()
        answer.data["dropped"] = dropped or 0
        return answer


class TopicDetail(APIView):
    @extend_schema(
        operation_id="discovered_topic_read",
        summary="One discovered topic",
        responses={200: DiscoveredTopicSerializer, **errors(401, 404)},
    )
    def get(self, request: Request, site_id: int, topic_id: int) -> Response:
        return _answer(_topic(request, site_id, topic_id))

    @extend_schema(
        operation_id="discovered_topic_decide",
        summary="Accept, ignore or put back a discovered topic",
        description=(
            "Accepted, its messages become readings of the mapping's datalogger; a "
            "filter is added to the connection unless one covers the topic. Ignored or "
            "new, its mapping goes, and the filter that accepting had added. A topic "
            "outside of the site's code cannot be accepted."
        ),
        request=TopicChange,
        responses={
            200: DiscoveredTopicSerializer,
            **errors(400, 401, 403, 404, 413),
        },
    )
    def patch(self, request: Request, site_id: int, topic_id: int) -> Response:
        topic = _topic(request, site_id, topic_id)
        require(is_superuser(request.user))
        form = TopicChange(data=request.data)
        form.is_valid(raise_exception=True)
        return _answer(_still(topic_decide, topic, **form.validated_data))

    @extend_schema(
        operation_id="discovered_topic_forget",
        summary="Forget a discovered topic and its mapping",
        description="It comes back when it is seen again; ignore it to stop that.",
        responses={204: OpenApiResponse(description="Gone"), **errors(401, 403, 404)},
    )
    def delete(self, request: Request, site_id: int, topic_id: int) -> Response:
        topic = _topic(request, site_id, topic_id)
        require(is_superuser(request.user))
        _still(topic_forget, topic)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _topic(request: Request, site_id: int, topic_id: int) -> DiscoveredTopic:
    site = visible_site(request.user, site_id)
    row = DiscoveredTopic.objects.filter(site=site, pk=topic_id).first()
    if row is None:
        raise Http404
    return row


def _still(act: Any, topic: DiscoveredTopic, **given: Any) -> Any:  # noqa: ANN401
    try:
        return act(topic, **given)
    except ObjectDoesNotExist as error:  # it has just made room, or the site is gone
        raise Http404 from error


def _answer(topic: DiscoveredTopic) -> Response:
    return Response(_shaped([topic])[0])


def _shaped(rows: Sequence[DiscoveredTopic]) -> list[Any]:
    found = TopicMapping.objects.filter(
        site_id__in={row.site_id for row in rows},
        digest__in=[row.digest for row in rows],
    )
    context = {"mappings": {(row.site_id, row.digest): row for row in found}}
    return list(DiscoveredTopicSerializer(rows, many=True, context=context).data)
