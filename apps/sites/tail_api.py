"""Asking for a site's messages to be shown live, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.errors import DomainError
from apps.core.redis import RedisError
from apps.core.schema import errors
from apps.sites import tail
from apps.sites.selectors import visible_site

if TYPE_CHECKING:
    from rest_framework.request import Request


class NobodyToAskError(DomainError):
    code = "unavailable"
    status = 503

    def __init__(self) -> None:
        super().__init__(_("Live messages are not available now; try again"))


class WatchSerializer(serializers.Serializer[Any]):
    watched_for_s = serializers.IntegerField(help_text="Ask again before that.")


class Watch(APIView):
    @extend_schema(
        operation_id="messages_watch",
        summary="Have a site's messages shown live for some seconds",
        description=(
            "As events `messages` of the stream `/events/sites/{id}/messages/`: at "
            "most 20 a second with the first 512 bytes of each payload, and how many "
            "more there were."
        ),
        request=None,
        responses={200: WatchSerializer, **errors(401, 404, 503)},
    )
    def post(self, request: Request, site_id: int) -> Response:
        site = visible_site(request.user, site_id)
        try:
            tail.watch(site.pk)
        except RedisError as error:
            raise NobodyToAskError from error
        return Response({"watched_for_s": tail.WATCHED_FOR_S})
