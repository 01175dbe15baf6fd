"""What every API answer has in common: the shape of errors, and pages of a list."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from django.db import InterfaceError, OperationalError
from django.db.models import Model
from django.http import HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _
from django.views import defaults
from rest_framework import serializers, status, views
from rest_framework.exceptions import APIException, ErrorDetail
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from apps.core.errors import DomainError
from apps.core.parsing import read_query

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from rest_framework.request import Request

log = logging.getLogger(__name__)

MAX_LIMIT = 1_000  # rows of one answer where somebody asks for pages
MAX_OFFSET = 2**31 - 1  # PostgreSQL counts further, nobody pages further

Row = TypeVar("Row", bound=Model)


def error_body(
    code: str, message: object, fields: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Return the shape of every error; half a surrogate pair is spelled out in it.

    DRF quotes what it refuses, and such a half could not be written as UTF-8.
    """
    return {
        "code": code,
        "message": _writable(str(message)),
        "fields": {
            _writable(name): [_writable(problem) for problem in problems]
            for name, problems in (fields or {}).items()
        },
    }


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer every expected error as `{"code", "message", "fields"}`.

    None leaves an unexpected one to Django, which logs it and calls `server_error`.
    """
    if isinstance(error, DomainError):
        body = error_body(error.code, error.message, error.fields)
        return Response(body, status=error.status)
    if isinstance(error, OperationalError | InterfaceError):
        log.error("database unavailable: %s", type(error).__name__, exc_info=error)
        body = error_body("unavailable", _("The database does not answer; try again"))
        return Response(body, status=status.HTTP_503_SERVICE_UNAVAILABLE)
    response = views.exception_handler(error, context)
    if response is not None:
        response.data = _body_of(error, response.data)
    return response


def _body_of(error: Exception, data: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(error, serializers.ValidationError):
        fields = dict(_flatten(error.detail))
        return error_body("invalid", _first_problem(fields), fields)
    detail = error.detail if isinstance(error, APIException) else data["detail"]
    if isinstance(detail, Mapping):  # simplejwt: {"detail", "code", "messages"}
        return error_body(str(detail.get("code", "error")), detail.get("detail", ""))
    code = detail.code if isinstance(detail, ErrorDetail) else "error"
    return error_body(str(code), detail)


def _first_problem(fields: Mapping[str, Sequence[str]]) -> str:
    for name, problems in fields.items():
        return f"{name}: {problems[0]}" if name else problems[0]
    return _("The request is not valid")


def _flatten(detail: object, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield `topics.0.pattern` -> problems from whatever shape DRF nested them in."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = "" if name == "non_field_errors" else str(name)
            yield from _flatten(inner, ".".join(part for part in (path, own) if part))
    elif isinstance(detail, list) and any(isinstance(x, dict | list) for x in detail):
        for place, inner in enumerate(detail):
            if inner:  # an item without problems is an empty dict
                yield from _flatten(inner, f"{path}.{place}" if path else str(place))
    elif isinstance(detail, list):
        yield path, [str(problem) for problem in detail]
    else:
        yield path, [str(detail)]


def refuse(field: str, problem: object) -> NoReturn:
    """Raise the 400 that names one field."""
    raise serializers.ValidationError({field: [str(problem)]})


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return JsonResponse(error_body("bad_request", _("Bad request")), status=400)
    return defaults.bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        body = error_body("not_found", _("There is nothing at this address"))
        return JsonResponse(body, status=404)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    if _is_api(request):
        body = error_body("server_error", _("Something went wrong; it has been logged"))
        return JsonResponse(body, status=500)
    return defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith(("/api/", "/events/"))


class PageQuery(serializers.Serializer[Any]):
    limit = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_LIMIT, help_text="Rows per page."
    )
    offset = serializers.IntegerField(
        default=0, min_value=0, max_value=MAX_OFFSET, help_text="Rows to skip."
    )


def page(
    request: Request,
    rows: QuerySet[Row],
    *,
    name: str,
    shape: Callable[[list[Row]], Iterable[object]],
    default_limit: int | None = MAX_LIMIT,
) -> Response:
    """Answer `{name: [...], "count", "next", "previous"}` by `limit` and `offset`.

    Args:
        request: carries the query; the links repeat its other parameters.
        rows: ordered, and unique in that order.
        name: of the list.
        shape: turns the page's rows into what is serialised, in one go.
        default_limit: rows without `limit`; None means all of them.
    """
    query = read_query(PageQuery, request)
    limit, offset = query.get("limit", default_limit), query["offset"]
    if limit is None:
        found = list(rows[offset:])
        count = len(found) if not offset else rows.count()
    else:
        count = rows.count()
        found = list(rows[offset : offset + limit])
    after = offset + len(found)
    more = limit is not None and after < count
    before = max(0, offset - limit) if limit is not None else 0
    return Response(
        {
            name: shape(found),
            "count": count,
            "next": _link(request, limit, after) if more else None,
            "previous": _link(request, limit, before) if offset else None,
        }
    )


def _link(request: Request, limit: int | None, offset: int) -> str:
    url = replace_query_param(request.build_absolute_uri(), "offset", offset)
    return str(url if limit is None else replace_query_param(url, "limit", limit))
