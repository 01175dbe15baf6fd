"""Turns "whose channels?" into a view that answers with a stream or a JSON error."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from apps.core.api import error_body
from apps.core.permits import (
    ChannelsFor,
    NoSuchStreamError,
    NotAuthenticatedError,
    Permit,
    credentials_of,
    issue,
)
from apps.core.sse import RESYNC, Stream, manager

if TYPE_CHECKING:
    from collections.abc import Hashable

    from django.http import HttpRequest, HttpResponseBase

    StreamView = Callable[..., Coroutine[object, object, HttpResponseBase]]

log = logging.getLogger(__name__)

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx
    "Vary": "Authorization, Cookie",
}
# Clients of a restarted server return spread over this time.
RETRY_MS = (2000, 5000)


def stream_view(channels_for: ChannelsFor) -> StreamView:
    """Return the view that streams the channels which `channels_for` gives a user.

    The URL's arguments are passed to `channels_for` after the user.
    """

    @csrf_exempt  # so that a POST gets our 405, too
    async def view(request: HttpRequest, **arguments: Hashable) -> HttpResponseBase:
        if request.method != "GET":
            response = refusal(405, "method_not_allowed", _("A stream is only read"))
            response.headers["Allow"] = "GET"
            return response
        permit = await _permit(request, channels_for, tuple(arguments.values()))
        if isinstance(permit, HttpResponse):
            return permit
        await manager().ready()
        return _open(permit, is_return="Last-Event-ID" in request.headers)

    return view


async def not_found(request: HttpRequest) -> HttpResponse:
    return refusal(404, "not_found", _("There is no such stream"))


def refusal(status: int, code: str, message: str) -> HttpResponse:
    return JsonResponse(error_body(code, message), status=status)


async def _permit(
    request: HttpRequest, channels_for: ChannelsFor, arguments: tuple[Hashable, ...]
) -> Permit | HttpResponse:
    try:
        return await sync_to_async(issue)(
            credentials_of(request), channels_for, arguments, now=timezone.now()
        )
    except NotAuthenticatedError:
        message = _("Log in, or send a valid access token")
        response = refusal(401, "not_authenticated", message)
        response.headers["WWW-Authenticate"] = 'Bearer realm="api"'
        return response
    except NoSuchStreamError:
        return refusal(404, "not_found", _("There is no such stream"))
    except (OperationalError, InterfaceError) as error:
        log.warning("no stream, the database is unavailable: %s", type(error).__name__)
        message = _("The database does not answer; try again")
        return refusal(503, "unavailable", message)


def _open(permit: Permit, *, is_return: bool) -> StreamingHttpResponse:
    """Answer with a stream whose first bytes leave at once.

    The id makes a browser that was cut off say so when it returns: what happened
    meanwhile is lost, so it is told to refetch.
    """
    first = f"retry: {random.randint(*RETRY_MS)}\nid: 1\n\n".encode()  # noqa: S311 (no secret)
    if is_return:
        first += RESYNC
    return StreamingHttpResponse(
        Stream(permit).body(manager(), first),
        content_type="text/event-stream",
        headers=HEADERS,
    )
