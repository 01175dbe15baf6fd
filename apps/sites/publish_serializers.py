"""What a person may publish, and the ledger of commands, as JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.parsing import UtcTimeField
from apps.sites.models import Command, CommandReason, CommandState
from apps.sites.publish_requests import MAX_MESSAGE_BYTES, Wish
from apps.sites.publish_topics import (
    MAX_TOPIC_BYTES,
    problem_with_topic,
    reply_topic_of,
)

MAX_REPLY_TIMEOUT_S = 300
MAX_KEY = 255
# Printable ASCII; HTTP itself cuts the spaces around a header.
KEY_PATTERN = r"^[!-~]([ -~]*[!-~])?$"


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "maxLength": MAX_MESSAGE_BYTES},
            {"type": "number"},
            {"type": "boolean"},
            {"type": "object", "additionalProperties": True},
            {"type": "array", "items": {}},
        ]
    }
)
class MessageField(serializers.Field[Any, Any, Any, Any]):
    """A text as it is; any other JSON value as compact JSON."""

    default_error_messages = {
        "no_text": _("The message is not text that UTF-8 can say"),
        "no_json": _("The message cannot be written as JSON"),
        "too_long": _("The message has %(size)d bytes; at most %(most)d are sent"),
    }

    def to_internal_value(self, data: Any) -> bytes:  # noqa: ANN401 (DRF's signature)
        try:
            text = data if isinstance(data, str) else _compact(data)
            payload = text.encode()
        except UnicodeEncodeError:
            self.fail("no_text")
        except (ValueError, RecursionError):  # 1e999 is read as infinite
            self.fail("no_json")
        if len(payload) > MAX_MESSAGE_BYTES:
            problem = self.error_messages["too_long"]
            raise serializers.ValidationError(
                problem % {"size": len(payload), "most": MAX_MESSAGE_BYTES}
            )
        return payload


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class PublishSerializer(serializers.Serializer[Any]):
    """A message for a device. Its context holds the site's `code`."""

    topic = serializers.CharField(
        max_length=MAX_TOPIC_BYTES,
        trim_whitespace=False,
        help_text="Whole, under the site's code; at most 1,024 bytes.",
    )
    message = MessageField(
        help_text="Text as it is, any other value as JSON; at most 65,536 bytes."
    )
    qos = serializers.IntegerField(
        default=1,
        min_value=0,
        max_value=1,
        help_text="1: the answer waits for the broker's PUBACK. 0: nobody confirms.",
    )
    retain = serializers.BooleanField(
        default=False, help_text="Have the broker keep it for later subscribers."
    )
    reply_timeout_s = serializers.IntegerField(
        default=None,
        allow_null=True,
        min_value=1,
        max_value=MAX_REPLY_TIMEOUT_S,
        help_text=(
            "Wait this long for a message on `…/output`; for topics that end in "
            "`/input`. It appears in the command and as SSE event `command`."
        ),
    )

    def validate_topic(self, topic: str) -> str:
        problem = problem_with_topic(self.context["code"], topic)
        if problem:
            raise serializers.ValidationError(str(problem))
        return topic

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["reply_timeout_s"] and reply_topic_of(attrs["topic"]) is None:
            problem = _("Only a topic that ends in '/input' is answered")
            raise serializers.ValidationError({"reply_timeout_s": [str(problem)]})
        return attrs

    def wish(self) -> Wish:
        given = dict(self.validated_data)
        return Wish(payload=given.pop("message"), **given)


def problem_with_key(key: str) -> object | None:
    """Return what is wrong with an Idempotency-Key, or None."""
    if len(key) <= MAX_KEY and re.fullmatch(KEY_PATTERN, key):
        return None
    return _("1 to %d printable ASCII characters are needed") % MAX_KEY


class PublishedSerializer(serializers.Serializer[Command]):
    """The broker has the message."""

    success = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField()
    command_id = serializers.IntegerField(
        source="pk", help_text="In the site's commands."
    )
    state = serializers.ChoiceField(CommandState.choices)
    puback_ms = serializers.FloatField(
        help_text="From sending to PUBACK; QoS 0: to having written it."
    )
    detail = serializers.CharField(
        allow_blank=True,
        help_text="What the broker added, such as 'No matching subscribers' (MQTT 5).",
    )
    reply_topic = serializers.CharField(allow_blank=True)
    reply_until = UtcTimeField(allow_null=True)

    def get_success(self, row: Command) -> bool:
        return True

    def get_message(self, row: Command) -> str:
        """Say it in the documents' words, which programs compare with."""
        return "Message published successfully"


class CommandSerializer(serializers.Serializer[Any]):
    """A message that was published for a person, and what became of it."""

    command_id = serializers.IntegerField(source="pk")
    site_id = serializers.IntegerField()
    user_id = serializers.IntegerField(
        allow_null=True, help_text="null: the user is gone."
    )
    username = serializers.CharField()
    created_at = UtcTimeField()
    topic = serializers.CharField()
    size = serializers.IntegerField(source="payload_size", help_text="Bytes.")
    sha256 = serializers.CharField(source="payload_sha256")
    qos = serializers.IntegerField()
    retain = serializers.BooleanField()
    state = serializers.ChoiceField(CommandState.choices)
    reason = serializers.ChoiceField(CommandReason.choices, allow_blank=True)
    detail = serializers.CharField(allow_blank=True)
    sent_at = UtcTimeField(allow_null=True)
    delivered_at = UtcTimeField(allow_null=True, help_text="When PUBACK came.")
    puback_ms = serializers.FloatField(allow_null=True)
    reply_topic = serializers.CharField(allow_blank=True)
    reply_until = UtcTimeField(allow_null=True)
    reply = serializers.CharField(
        allow_null=True, allow_blank=True, help_text="At most 4 KiB of it."
    )
    replied_at = UtcTimeField(allow_null=True)
