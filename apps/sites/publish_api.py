"""Publishing and the ledger of commands over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from apps.core.api import PageQuery, page, refuse
from apps.core.parsing import read_query
from apps.core.permissions import is_superuser, require
from apps.core.schema import ErrorSerializer, errors, page_of
from apps.sites import publish_requests
from apps.sites.models import Command, CommandState
from apps.sites.publish_serializers import (
    KEY_PATTERN,
    MAX_KEY,
    CommandSerializer,
    PublishedSerializer,
    PublishSerializer,
    problem_with_key,
)
from apps.sites.selectors import may_control, visible_site

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet
    from rest_framework.request import Request

COMMANDS_LIMIT = 100  # of one page
KEY_HEADER = "Idempotency-Key"
_KEY = OpenApiParameter(
    KEY_HEADER,
    type={
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY,
        "pattern": KEY_PATTERN,
    },
    location=OpenApiParameter.HEADER,
    description=(
        "The same key with the same request answers with the first one's result and "
        "sends nothing; for 400 days. Free again if nothing was sent (409, 503)."
    ),
)


class Publish(APIView):
    throttle_classes = (ScopedRateThrottle,)
    throttle_scope = "publish"

    @extend_schema(
        operation_id="connection_publish",
        summary="Publish a message for a device",
        description=(
            "Answers when the broker has confirmed the message, and never sends it "
            "later than it says. 409 `not_connected` and 503: nothing was sent. 502 "
            "`refused`: the broker said no. 504 `no_puback`: it may have arrived. "
            "60 a minute for each user."
        ),
        parameters=[_KEY],
        request=PublishSerializer,
        responses={
            200: PublishedSerializer,
            **errors(400, 401, 403, 404, 409, 413, 429, 502, 503, 504),
            422: OpenApiResponse(ErrorSerializer, "The key was used for another body"),
        },
    )
    def post(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        require(is_superuser(request.user))
        key = request.headers.get(KEY_HEADER)
        problem = problem_with_key(key) if key is not None else None
        if problem:
            refuse(KEY_HEADER, problem)
        form = PublishSerializer(data=request.data, context={"code": site.code})
        form.is_valid(raise_exception=True)
        user = cast("User", request.user)
        row = publish_requests.publish(user, site, form.wish(), key=key)
        return Response(PublishedSerializer(row).data)


class CommandQuery(PageQuery):
    state = serializers.ChoiceField(CommandState.choices, required=False)


class CommandList(APIView):
    @extend_schema(
        operation_id="commands_list",
        summary="What was published for a site, newest first",
        parameters=[CommandQuery],
        responses={
            200: page_of("commands", CommandSerializer),
            **errors(400, 401, 403, 404),
        },
    )
    def get(self, request: Request, site_id: int) -> Response:
        rows = _commands(request, site_id)
        query = read_query(CommandQuery, request)
        if "state" in query:
            rows = rows.filter(state=query["state"])
        return page(
            request,
            rows,
            name="commands",
            shape=lambda found: CommandSerializer(found, many=True).data,
            default_limit=COMMANDS_LIMIT,
        )


class CommandDetail(APIView):
    @extend_schema(
        operation_id="commands_read",
        summary="One command, with its result and answer",
        responses={200: CommandSerializer, **errors(401, 403, 404)},
    )
    def get(self, request: Request, site_id: int, command_id: int) -> Response:
        row = _commands(request, site_id).filter(pk=command_id).first()
        if row is None:
            raise Http404
        return Response(CommandSerializer(row).data)


def _commands(request: Request, site_id: int) -> QuerySet[Command]:
    site = visible_site(request.user, site_id)
    require(may_control(request.user, site))
    return Command.objects.filter(site=site).defer("payload")
