"""Readings as JSON, and the parameters that ask for them."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from apps.core.parsing import UtcTimeField, ValueField

INTERVALS = ("raw", "all")
FIGURES = ("min", "max", "avg", "sum", "count", "first", "last")
FORMATS = ("json", "csv")


def _one_of(choices: tuple[str, ...], **options: Any) -> serializers.ChoiceField:  # noqa: ANN401 (DRF's options)
    offered = ", ".join(choices)
    message = _("'{input}' is not offered here; use one of: ") + offered
    return serializers.ChoiceField(
        choices, error_messages={"invalid_choice": message}, **options
    )


class ReadingsQuery(serializers.Serializer[Any]):
    to = UtcTimeField(
        required=False, help_text="Before this time; without it up to the newest."
    )
    interval = _one_of(
        INTERVALS,
        default="raw",
        help_text="raw: every stored reading. all: one figure for the whole range.",
    )
    agg = _one_of(FIGURES, default="avg", help_text="The figure of interval=all.")
    format = _one_of(
        FORMATS, default="json", help_text="csv has no cap on the number of rows."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # `from` is a word of Python, so it cannot be declared as an attribute.
        start = UtcTimeField(
            required=False,
            help_text="At or after this time; without it from the first.",
        )
        return {"from": start, **super().get_fields()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end = attrs.get("from"), attrs.get("to")
        if start and end and end < start:
            raise serializers.ValidationError({"to": [_("'to' lies before 'from'")]})
        return attrs


class PointSerializer(serializers.Serializer[Any]):
    at = UtcTimeField()
    value = ValueField(allow_null=True)


class ReadingsSerializer(serializers.Serializer[Any]):
    readings = PointSerializer(many=True)
    count = serializers.IntegerField(
        help_text="Rows in the range, also those that were cut off."
    )
    truncated = serializers.BooleanField(
        help_text="True: only the oldest rows are here; ask on from the last time."
    )
