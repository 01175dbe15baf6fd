"""Turns "whose channels?" into a view that answers with a stream or a JSON error."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

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
from apps.core.sse import AWAY, RESYNC, Stream, manager

if TYPE_CHECKING:
    from collections.abc import Hashable

    from django.http import HttpRequest, HttpResponseBase

log = logging.getLogger(__name__)

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx
    "Vary": "Authorization, Cookie",
}
# Browsers of a restarted server return spread over this time.
RETRY_MS = (2000, 5000)


def stream_view(channels_for: ChannelsFor) -> Callable[..., HttpResponseBase]:
    """Return the view that streams the channels which `channels_for` gives a user.

    The URL's arguments are passed to `channels_for` after the user.
    """

    @csrf_exempt  # so that a POST gets our 405, too
    def view(request: HttpRequest, **arguments: Hashable) -> HttpResponseBase:
        if request.method != "GET":
            response = _refuse(405, "method_not_allowed", _("A stream is only read"))
            response.headers["Allow"] = "GET"
            return response
        return _answer(request, channels_for, tuple(arguments.values()))

    return view


def not_found(request: HttpRequest) -> HttpResponse:
    return _refuse(404, "not_found", _("There is no such stream"))


def _answer(
    request: HttpRequest, channels_for: ChannelsFor, arguments: tuple[Hashable, ...]
) -> HttpResponseBase:
    credentials, now = credentials_of(request), timezone.now()
    try:
        permit = issue(credentials, channels_for, arguments, now=now)
    except NotAuthenticatedError:
        message = _("Log in, or send a valid access token")
        response = _refuse(401, "not_authenticated", message)
        response.headers["WWW-Authenticate"] = 'Bearer realm="api"'
        return response
    except NoSuchStreamError:
        return not_found(request)
    except (OperationalError, InterfaceError) as error:
        log.warning("no stream, the database is unavailable: %s", type(error).__name__)
        message = _("The database does not answer; try again")
        return _refuse(503, "unavailable", message)
    return StreamingHttpResponse(
        _body(permit, is_return="Last-Event-ID" in request.headers),
        content_type="text/event-stream",
        headers=HEADERS,
    )


def _refuse(status: int, code: str, message: str) -> HttpResponse:
    return JsonResponse(error_body(code, message), status=status)


async def _body(permit: Permit, *, is_return: bool) -> AsyncGenerator[bytes, None]:
    """Yield a stream's bytes, the first ones at once.

    The id makes a browser that was cut off say so when it returns: what happened
    meanwhile is lost, so it is told to refetch. It is also told that Redis is away.
    """
    first = f"retry: {random.randint(*RETRY_MS)}\nid: 1\n\n".encode()  # noqa: S311 (no secret)
    if is_return:
        first += RESYNC
    if not manager().hears:
        first += AWAY
    async with aclosing(Stream(permit).body(manager(), first)) as parts:
        async for part in parts:
            yield part
