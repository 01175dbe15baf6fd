"""How the API describes itself: the pieces that all endpoints share."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse, inline_serializer
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework import serializers


class ErrorSerializer(serializers.Serializer[Any]):
    """The shape of every error."""

    code = serializers.CharField(help_text="For programs; never translated.")
    message = serializers.CharField(help_text="For people.")
    fields = serializers.DictField(  # type: ignore[assignment]  # DRF moves it away
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Problems by field, empty when no field is to blame.",
    )


_MEANINGS = {
    400: "A parameter or field is not valid",
    401: "No token, or one that is not valid",
    403: "Not allowed to this user",
    404: "There is no such thing, or not for this user",
    409: "Not possible in the present state",
    413: "The body is too large",
    415: "The body is of another type",
    422: "There is no such figure",
    429: "Too many attempts; see Retry-After",
    502: "The site's broker refused it",
    503: "A part of the system does not answer",
    504: "The site's broker did not confirm it in time",
}


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return the `responses` of these errors."""
    return {
        code: OpenApiResponse(ErrorSerializer, _MEANINGS[code]) for code in statuses
    }


def page_of(
    name: str, item: type[serializers.BaseSerializer[Any]]
) -> serializers.Serializer[Any]:
    """Return the serializer of `{name: [...], "count", "next", "previous"}`."""
    return inline_serializer(
        name=f"{name.capitalize()}Page",
        fields={
            name: item(many=True),
            "count": serializers.IntegerField(help_text="Rows on all pages together."),
            "next": serializers.URLField(allow_null=True),
            "previous": serializers.URLField(allow_null=True),
        },
    )


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI from our own static files, with nothing inline."""

    template_name = "core/swagger.html"
