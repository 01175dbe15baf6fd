"""Mappings as JSON."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from apps.core.parsing import FiniteFloatField, UtcTimeField, ValueField
from apps.telemetry.mapping_values import MAX_TOPIC_BYTES, MAX_VALUES
from apps.telemetry.mappings import MAX_VERSION
from apps.telemetry.protocols.paths import MAX_PATH_CHARS
from apps.telemetry.protocols.topics import MAX_LEVEL_CHARS
from apps.telemetry.protocols.v2 import MAX_LABEL_CHARS, MAX_TYPE_CHARS, MAX_UNIT_CHARS
from apps.telemetry.protocols.values import MAX_KEY_CHARS

MAX_PREVIEWED_CHARS = 65_536
MAX_ID = 2**63 - 1
SOURCES = ("payload", "topic_id", "quarantine_id")


def _text(
    max_length: int, help_text: str = "", *, source: str | None = None
) -> serializers.CharField:
    """Return a field for a text that may be empty or left out."""
    return serializers.CharField(
        default="",
        allow_blank=True,
        max_length=max_length,
        trim_whitespace=False,
        help_text=help_text,
        source=source,
    )


def _required(max_length: int, help_text: str = "") -> serializers.CharField:
    return serializers.CharField(
        max_length=max_length, trim_whitespace=False, help_text=help_text
    )


class MappedValueSerializer(serializers.Serializer[Any]):
    """One sensor: the reading is what lies at `path`, times `scale`, plus `offset`."""

    path = _required(
        MAX_PATH_CHARS, "Such as $.values.t, $.list[0]['any name'], or $: all of it."
    )
    key = _required(MAX_KEY_CHARS)
    label = _text(MAX_LABEL_CHARS)  # type: ignore[assignment]  # DRF moves it away
    type = _text(MAX_TYPE_CHARS)
    unit = _text(MAX_UNIT_CHARS)
    scale = FiniteFloatField(default=1.0)
    offset = FiniteFloatField(default=0.0)


class DataloggerNameSerializer(serializers.Serializer[Any]):
    """Whose readings they are; both empty: the topic itself names the datalogger."""

    type = _text(MAX_LEVEL_CHARS, source="datalogger_type")
    number = _text(MAX_LEVEL_CHARS, source="datalogger_number")


class MappingSerializer(serializers.Serializer[Any]):
    """How a payload becomes readings: the part that also accepts a discovered topic.

    Its `validated_data` are the keyword arguments of `mapping_create`.
    """

    datalogger = DataloggerNameSerializer(source="*", required=False)
    ts_path = _text(MAX_PATH_CHARS, "Where the time lies; empty: the time of receipt.")
    values = MappedValueSerializer(  # type: ignore[call-arg]  # many=True's
        many=True, allow_empty=False, max_length=MAX_VALUES
    )


class TopicMappingSerializer(MappingSerializer):
    """A mapping as it is stored, for a topic or for a version."""

    id = serializers.IntegerField(source="pk", read_only=True)
    site_id = serializers.IntegerField(read_only=True)
    topic = _text(MAX_TOPIC_BYTES, "The whole topic; empty: it is for a version.")
    version = serializers.IntegerField(
        default=None,
        allow_null=True,
        min_value=0,
        max_value=MAX_VERSION,
        help_text="Of native data messages; null: it is for a topic.",
    )
    is_active = serializers.BooleanField(default=True)
    created_at = UtcTimeField(read_only=True)
    updated_at = UtcTimeField(read_only=True)


class PreviewRequest(TopicMappingSerializer):
    """A mapping that need not be stored, and one payload to try it on."""

    payload = serializers.CharField(
        required=False,
        max_length=MAX_PREVIEWED_CHARS,
        allow_blank=True,
        trim_whitespace=False,
        help_text="A payload as text; or",
    )
    topic_id = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_ID,
        help_text="the last payload of this discovered topic; or",
    )
    quarantine_id = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_ID,
        help_text="the payload of this quarantined message.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in SOURCES if name in attrs]
        if len(given) != 1:
            message = _("Exactly one of payload, topic_id and quarantine_id")
            raise serializers.ValidationError({"payload": [message]})
        return attrs


class PreviewedReadingSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # DRF moves it away
    type = serializers.CharField()
    unit = serializers.CharField()
    value = ValueField()
    at = UtcTimeField(allow_null=True, help_text="null: the time of receipt.")


class PreviewSerializer(serializers.Serializer[Any]):
    """What the mapping makes of the payload, or why it cannot."""

    is_understood = serializers.BooleanField()
    reason = serializers.CharField(
        help_text="A quarantine reason; empty if understood."
    )
    detail = serializers.CharField()
    readings = PreviewedReadingSerializer(many=True)
    missing = serializers.ListField(
        child=serializers.CharField(),
        help_text="Keys that have no value in this payload.",
    )
