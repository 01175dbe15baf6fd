"""Discovered topics as JSON."""

from __future__ import annotations

import base64
from typing import Any

from drf_spectacular.utils import extend_schema_field, inline_serializer
from rest_framework import serializers

from apps.core.parsing import UtcTimeField
from apps.devices.models import ContentType, DiscoveredTopic, TopicState
from apps.devices.payloads import BINARY
from apps.telemetry.mapping_serializers import MappingSerializer


class TopicsQuery(serializers.Serializer[Any]):
    state = serializers.ChoiceField(TopicState.choices, required=False)
    content_type = serializers.ChoiceField(ContentType.choices, required=False)
    search = serializers.CharField(
        default="", allow_blank=True, max_length=200, help_text="Part of the topic."
    )


class PathSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(help_text="As a mapping takes it, such as $.a.b[0].")
    type = serializers.ChoiceField(["number", "text", "boolean", "null"])


class DiscoveredTopicSerializer(serializers.Serializer[Any]):
    """A topic seen on the wire that no decoder claims."""

    id = serializers.IntegerField(source="pk")
    site_id = serializers.IntegerField()
    topic = serializers.CharField(help_text="Bytes that are not UTF-8 are escaped.")
    first_seen = UtcTimeField()
    last_seen = UtcTimeField()
    message_count = serializers.IntegerField(
        help_text="While nobody read them: those of an accepted topic are readings."
    )
    rate_per_minute = serializers.FloatField(
        allow_null=True,
        help_text=(
            "A mean weighted towards the last five minutes in which it was seen; null "
            "after a single message."
        ),
    )
    last_payload = serializers.SerializerMethodField(help_text="Its first 4 KiB.")
    payload_encoding = serializers.SerializerMethodField()
    payload_size = serializers.IntegerField(help_text="Bytes, all of them.")
    content_type = serializers.ChoiceField(
        ContentType.choices, help_text="A guess from the last payload."
    )
    paths = PathSerializer(many=True)
    qos = serializers.IntegerField()
    retain = serializers.BooleanField()
    state = serializers.ChoiceField(TopicState.choices)
    mapping = serializers.SerializerMethodField()

    def get_last_payload(self, row: DiscoveredTopic) -> str:
        payload = bytes(row.last_payload)
        if row.content_type == BINARY:
            return base64.b64encode(payload).decode()
        return payload.decode("utf-8", "ignore")  # the cut may go through a letter

    @extend_schema_field({"type": "string", "enum": ["text", "base64"]})
    def get_payload_encoding(self, row: DiscoveredTopic) -> str:
        return "base64" if row.content_type == BINARY else "text"

    @extend_schema_field(MappingSerializer(allow_null=True))
    def get_mapping(self, row: DiscoveredTopic) -> dict[str, Any] | None:
        mapping = self.context["mappings"].get((row.site_id, row.digest))
        return None if mapping is None else dict(MappingSerializer(mapping).data)


class TopicChange(serializers.Serializer[Any]):
    """A decision about a topic; accepting one needs a mapping, given or there."""

    state = serializers.ChoiceField(TopicState.choices, required=False)
    mapping = MappingSerializer(required=False)


def topics_page() -> serializers.Serializer[Any]:
    """Return the serializer of a page of topics."""
    return inline_serializer(
        name="DiscoveredTopicsPage",
        fields={
            "topics": DiscoveredTopicSerializer(many=True),
            "count": serializers.IntegerField(help_text="Rows on all pages together."),
            "next": serializers.URLField(allow_null=True),
            "previous": serializers.URLField(allow_null=True),
            "dropped": serializers.IntegerField(
                help_text="Topics that had to make room, or found none: 5,000 are kept."
            ),
        },
    )
