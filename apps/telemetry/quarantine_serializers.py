"""The quarantine as JSON. What is in it was sent by anybody."""

from __future__ import annotations

import base64
from typing import Any

from django.db.models import BinaryField, F, Func, QuerySet, Value
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.parsing import UtcTimeField
from apps.telemetry.models import QuarantinedMessage, QuarantineReason
from apps.telemetry.replay import is_readable

LISTED_BYTES = 4_096  # of each payload; a page may have a thousand
MAX_ID = 2**63 - 1
MAX_IDS = 10_000


class QuarantineQuery(serializers.Serializer[Any]):
    reason = serializers.ChoiceField(QuarantineReason.choices, required=False)
    replayed = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="true: those understood since; false: those that wait.",
    )


class QuarantinedSerializer(serializers.Serializer[QuarantinedMessage]):
    """A quarantined message; in a list with the first 4 KiB of its payload.

    Those are the row's `head` then, see `listed`.
    """

    id = serializers.IntegerField(source="pk")
    site_id = serializers.IntegerField()
    received_at = UtcTimeField()
    topic = serializers.CharField(help_text="Bytes that are not UTF-8 are escaped.")
    qos = serializers.IntegerField()
    retain = serializers.BooleanField()
    reason = serializers.ChoiceField(QuarantineReason.choices)
    detail = serializers.CharField()
    payload_size = serializers.IntegerField(help_text="As it came, in bytes.")
    payload_text = serializers.SerializerMethodField(
        help_text="null where the payload is not UTF-8."
    )
    payload_base64 = serializers.SerializerMethodField()
    payload_truncated = serializers.SerializerMethodField(
        help_text="True: there was more of it than is here."
    )
    can_replay = serializers.SerializerMethodField(
        help_text="False: it was cut at 64 KiB, its topic is no text, or it is done."
    )
    replayed_at = UtcTimeField(allow_null=True)

    @extend_schema_field(OpenApiTypes.STR)
    def get_payload_base64(self, row: QuarantinedMessage) -> str:
        return base64.b64encode(self._payload(row)).decode()

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_payload_text(self, row: QuarantinedMessage) -> str | None:
        payload = self._payload(row)
        try:
            return payload.decode("utf-8")
        except UnicodeDecodeError as error:
            # The cut may go through a letter of up to four bytes.
            if self.get_payload_truncated(row) and error.start >= len(payload) - 3:
                return payload[: error.start].decode("utf-8")
            return None

    @extend_schema_field(OpenApiTypes.BOOL)
    def get_payload_truncated(self, row: QuarantinedMessage) -> bool:
        return row.payload_size > len(self._payload(row))

    def _payload(self, row: QuarantinedMessage) -> bytes:
        return bytes(row.head if hasattr(row, "head") else row.payload)

    @extend_schema_field(OpenApiTypes.BOOL)
    def get_can_replay(self, row: QuarantinedMessage) -> bool:
        return row.replayed_at is None and is_readable(row)


def listed(rows: QuerySet[QuarantinedMessage]) -> QuerySet[QuarantinedMessage]:
    """Read the head of each payload only: whole, a page of them may be 64 MB."""
    head = Func(
        F("payload"),
        Value(1),
        Value(LISTED_BYTES),
        function="substring",
        output_field=BinaryField(),
    )
    return rows.defer("payload").annotate(head=head)


class ReplayRequest(serializers.Serializer[Any]):
    """Which messages; nothing given: all that wait."""

    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=MAX_ID),
        required=False,
        allow_empty=False,
        max_length=MAX_IDS,
    )
    reason = serializers.ChoiceField(QuarantineReason.choices, required=False)


class ReplayedSerializer(serializers.Serializer[Any]):
    """What became of the messages."""

    replayed = serializers.IntegerField(help_text="Understood now, and stored.")
    still_quarantined = serializers.IntegerField(
        help_text="Not understood; their reason is the present one."
    )
    skipped = serializers.IntegerField(
        help_text="Not there, done before, or cut at 64 KiB."
    )
