"""Readings as JSON, and the parameters that ask for them."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.parsing import UtcTimeField, ValueField
from apps.telemetry.buckets import FIGURES
from apps.telemetry.pieces import LENGTHS_S

INTERVALS = ("raw", *LENGTHS_S, "all", "auto")
FORMATS = ("json", "csv")


def _one_of(choices: tuple[str, ...], **options: Any) -> serializers.ChoiceField:  # noqa: ANN401 (DRF's options)
    offered = ", ".join(choices)
    message = _("'{input}' is not offered here; use one of: ") + offered
    return serializers.ChoiceField(
        choices, error_messages={"invalid_choice": message}, **options
    )


@extend_schema_field(
    {
        "type": "string",
        "pattern": "^({0})(,({0}))*$".format("|".join(FIGURES)),
        "maxLength": 60,
        "default": "avg",
    }
)
class FiguresField(serializers.CharField):
    """One figure or several, with commas between them."""

    default_error_messages = {
        "unknown": _("'{name}' is not offered here; use one of: ") + ", ".join(FIGURES),
    }

    def to_internal_value(self, data: Any) -> tuple[str, ...]:  # type: ignore[override]  # noqa: ANN401 (DRF's signature)
        names = tuple(dict.fromkeys(super().to_internal_value(data).split(",")))
        for name in names:
            if name not in FIGURES:
                self.fail("unknown", name=name[:40])
        return names


class ZoneField(serializers.CharField):
    """The name of a time zone."""

    default_error_messages = {
        "unknown": _("'{name}' is not a time zone; use a name such as Europe/Rome"),
    }

    def to_internal_value(self, data: Any) -> str:  # noqa: ANN401 (DRF's signature)
        name = super().to_internal_value(data)
        if name not in available_timezones():
            self.fail("unknown", name=name[:40])
        return name


def check_range(attrs: dict[str, Any]) -> None:
    """Refuse `to` before `from`."""
    start, end = attrs.get("from"), attrs.get("to")
    if start and end and end < start:
        raise serializers.ValidationError({"to": [_("'to' lies before 'from'")]})


class _RangeQuery(serializers.Serializer[Any]):
    """The parameters that all questions about readings share."""

    to = UtcTimeField(
        required=False, help_text="Before this time; without it up to the newest."
    )
    agg = FiguresField(
        required=False,  # avg, see validate
        max_length=60,
        help_text=(
            "The figure of each interval; several with commas between them "
            "(avg,min,max) come under their own names instead of `value`."
        ),
    )
    tz = ZoneField(
        required=False,
        max_length=64,
        help_text="Whose calendar 6h, 1d, 1w and 1mo follow; without it the site's.",
    )
    format = _one_of(
        FORMATS, default="json", help_text="csv has no cap on the number of rows."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # `from` is a word of Python, so it cannot be declared as an attribute.
        start = UtcTimeField(required=False, help_text=self.from_help)
        return {"from": start, **super().get_fields()}

    from_help = "At or after this time; without it from the first."

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        check_range(attrs)
        attrs.setdefault("agg", ("avg",))
        return attrs


_INTERVAL_HELP = (
    "raw: every stored reading. 6h, 1d, 1w and 1mo follow the calendar. all: one "
    "figure for the whole range. auto: the finest with at most 1,000 points."
)


class ReadingsQuery(_RangeQuery):
    interval = _one_of(INTERVALS, default="raw", help_text=_INTERVAL_HELP)


class HistoryQuery(_RangeQuery):
    from_help = "At or after this time; without it the last 24 h before `to`."

    interval = _one_of(INTERVALS, default="auto", help_text=_INTERVAL_HELP)


class PointSerializer(serializers.Serializer[Any]):
    """`value`, or the figures that were asked for under their names."""

    at = UtcTimeField(help_text="A reading's time, or an interval's start.")
    value = ValueField(allow_null=True, required=False)
    min = serializers.FloatField(allow_null=True, required=False)
    max = serializers.FloatField(allow_null=True, required=False)
    avg = serializers.FloatField(allow_null=True, required=False)
    sum = serializers.FloatField(allow_null=True, required=False)
    count = serializers.IntegerField(required=False)
    first = ValueField(allow_null=True, required=False)
    last = ValueField(allow_null=True, required=False)


class ReadingsSerializer(serializers.Serializer[Any]):
    readings = PointSerializer(many=True)
    interval = serializers.ChoiceField(
        [name for name in INTERVALS if name != "auto"],
        help_text="The one that was asked for, or chosen by auto.",
    )
    count = serializers.IntegerField(
        help_text="Rows in the range, also those that were cut off."
    )
    truncated = serializers.BooleanField(
        help_text="True: only the oldest rows are here; ask on from the last time."
    )


class SensorHistorySerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # DRF moves it away
    unit_of_measure = serializers.CharField()
    readings = PointSerializer(many=True)


class HistorySerializer(serializers.Serializer[Any]):
    datalogger_id = serializers.IntegerField()
    interval = serializers.ChoiceField([n for n in INTERVALS if n != "auto"])
    agg = serializers.CharField()
    start = UtcTimeField()
    to = UtcTimeField()
    sensors = SensorHistorySerializer(many=True)
    count = serializers.IntegerField(
        help_text="Rows of all sensors, also those that were cut off."
    )
    truncated = serializers.BooleanField(
        help_text="True: only the oldest rows are here; ask on from the last time."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # `from` is a word of Python.
        fields = super().get_fields()
        start = fields.pop("start")
        return {"from": start, **fields}


class ImportResultSerializer(serializers.Serializer[Any]):
    rows = serializers.IntegerField(help_text="Values in the file.")
    stored = serializers.IntegerField()
    duplicates = serializers.IntegerField(help_text="Values that were stored before.")
    sensors_created = serializers.IntegerField()
