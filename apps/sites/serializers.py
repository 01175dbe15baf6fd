"""Sites and connections as JSON. Secrets go in and never come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from apps.core.crypto import SecretUnreadableError
from apps.core.parsing import FiniteFloatField, TrueOrFalseField, UtcTimeField
from apps.sites.hosts import problem_with_host
from apps.sites.models import (
    GapCause,
    MqttConnection,
    Protocol,
    Reason,
    Site,
    Status,
)
from apps.sites.patterns import DEFAULT_PATTERNS, problem_with_pattern
from apps.sites.services import TopicSetting
from apps.sites.tls import (
    problem_with_certificates,
    problem_with_key,
    problem_with_pair,
)

MAX_TOPICS = 200  # one SUBSCRIBE carries them all
MAX_SECRET = 1_024  # characters of a password
MAX_PEM = 65_536  # characters; a bundle of forty certificates


class SiteSerializer(serializers.ModelSerializer[Site]):
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        # The model's own FloatField takes "NaN", which no list could answer.
        **{
            model_field: FiniteFloatField
            for model_field, field in (
                serializers.ModelSerializer.serializer_field_mapping.items()
            )
            if field is serializers.FloatField
        },
    }

    class Meta:
        model = Site
        fields: ClassVar = [
            "id",
            "name",
            "code",
            "timezone",
            "latitude",
            "longitude",
            "visibility",
        ]


def _checked(
    problem_with: Callable[[str], object | None],
) -> Callable[[str], None]:
    """Return a DRF validator from a function that names the problem or None."""

    def check(value: str) -> None:
        problem = problem_with(value)
        if value and problem:
            raise serializers.ValidationError(str(problem))

    return check


def _check_encodable(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = _("Half of a character (a lone surrogate) is no text")
        raise serializers.ValidationError(problem) from error


def _problem_with_prefix(value: str) -> object | None:
    if any(letter.isspace() or not letter.isprintable() for letter in value):
        return _("A client id holds no spaces and no control characters")
    return None


class TopicSerializer(serializers.Serializer[Any]):
    """One filter, relative to the site's code."""

    pattern = serializers.CharField(
        max_length=256,
        trim_whitespace=False,
        validators=[_checked(problem_with_pattern)],
    )
    qos = serializers.IntegerField(
        default=1,
        min_value=0,
        max_value=1,
        help_text="0 or 1; 2 would not survive a crash.",
    )
    is_active = TrueOrFalseField(default=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        # A PATCH makes every field optional, down to those of the items.
        if "pattern" not in attrs:
            required = self.fields["pattern"].error_messages["required"]
            raise serializers.ValidationError({"pattern": [required]})
        return attrs


def _default_topics() -> list[dict[str, Any]]:
    return [
        {"pattern": pattern, "qos": 1, "is_active": True}
        for pattern in DEFAULT_PATTERNS
    ]


class ConnectionSerializer(serializers.Serializer[MqttConnection]):
    """A connection's settings.

    `password` and `tls_client_key` are never answered. Left out they stay as they
    are, null or "" removes them.
    """

    site_id = serializers.IntegerField(read_only=True)
    connection_id = serializers.IntegerField(source="pk", read_only=True)
    is_enabled = serializers.BooleanField(read_only=True)
    broker_host = serializers.CharField(
        max_length=255, validators=[_checked(problem_with_host)]
    )
    broker_port = serializers.IntegerField(default=1883, min_value=1, max_value=65535)
    username = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=255,
        trim_whitespace=False,
        validators=[_check_encodable],
    )
    password = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        allow_null=True,
        max_length=MAX_SECRET,
        trim_whitespace=False,
        validators=[_check_encodable],
    )
    has_password = serializers.BooleanField(read_only=True)
    client_id_prefix = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=50,
        validators=[_checked(_problem_with_prefix)],
    )
    protocol = serializers.ChoiceField(Protocol.choices, default=Protocol.V311)
    keepalive = serializers.IntegerField(
        default=None,
        allow_null=True,
        min_value=5,
        max_value=3600,
        help_text="Seconds; null: MQTT_KEEP_ALIVE.",
    )
    clean_session = TrueOrFalseField(
        default=None,
        allow_null=True,
        help_text="null: MQTT_CLEAN_SESSION. true: live only.",
    )
    use_tls = TrueOrFalseField(default=False)
    tls_ca = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=MAX_PEM,
        validators=[_checked(problem_with_certificates)],
        help_text="PEM; empty: the system's certificates.",
    )
    tls_client_cert = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=MAX_PEM,
        validators=[_checked(problem_with_certificates)],
    )
    tls_client_key = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        allow_null=True,
        max_length=MAX_PEM,
        validators=[_checked(problem_with_key)],
    )
    has_tls_client_key = serializers.SerializerMethodField()
    tls_server_name = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=255,
        validators=[_checked(problem_with_host)],
        help_text="Empty: the broker host.",
    )
    topics = TopicSerializer(  # type: ignore[call-arg]  # max_length is many=True's
        many=True,
        default=_default_topics,
        allow_empty=False,
        max_length=MAX_TOPICS,
    )

    def get_has_tls_client_key(self, row: MqttConnection) -> bool:
        return bool(row.tls_client_key_encrypted)

    def validate_topics(self, topics: list[dict[str, Any]]) -> list[TopicSetting]:
        seen = set()
        for topic in topics:
            if topic["pattern"] in seen:
                message = _("Pattern '%s' is there twice") % topic["pattern"]
                raise serializers.ValidationError(message)
            seen.add(topic["pattern"])
        return [TopicSetting(**topic) for topic in topics]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for secret in ("password", "tls_client_key"):
            if secret in attrs and attrs[secret] is None:
                attrs[secret] = ""
        if {"tls_client_cert", "tls_client_key"} & attrs.keys():
            problem = settle_client_key(self.instance, attrs)
            if problem:
                raise serializers.ValidationError({"tls_client_key": [str(problem)]})
        return attrs


def settle_client_key(
    row: MqttConnection | None, attrs: dict[str, Any]
) -> object | None:
    """Return what is wrong with the new pair of certificate and key, or None.

    A certificate that goes takes its key along: `attrs` then removes the key.
    """
    certificate = attrs.get("tls_client_cert", row.tls_client_cert if row else "")
    if not certificate:
        attrs.setdefault("tls_client_key", "")
    key = attrs.get("tls_client_key")
    try:
        key = row.read_tls_client_key() if key is None and row else key
    except SecretUnreadableError as error:
        return str(error)
    return problem_with_pair(certificate, key or "")


class GapSerializer(serializers.Serializer[Any]):
    """A time in which messages may have been missed."""

    began_at = UtcTimeField(help_text="When the connection was last surely heard.")
    ended_at = UtcTimeField(help_text="When it was there again.")
    cause = serializers.ChoiceField(GapCause.choices)
    detail = serializers.CharField(allow_blank=True)


class StatusSerializer(serializers.Serializer[Any]):
    """A connection as it is now."""

    connection_id = serializers.IntegerField()
    site_id = serializers.IntegerField()
    site_name = serializers.CharField()
    is_enabled = serializers.BooleanField(help_text="What people want.")
    status = serializers.ChoiceField(Status.choices)
    broker_host = serializers.CharField(allow_blank=True)
    broker_port = serializers.IntegerField()
    last_connected_at = UtcTimeField(allow_null=True)
    last_heartbeat_at = UtcTimeField(
        allow_null=True, help_text="When the owner last reported."
    )
    connection_errors = serializers.IntegerField()
    error_message = serializers.CharField(allow_blank=True)
    handler_running = serializers.BooleanField(
        help_text="A living worker looks after the connection."
    )
    handler_connected = serializers.BooleanField()
    retry_count = serializers.IntegerField()
    subscribed_topics = serializers.IntegerField(help_text="Length of topics_list.")
    topics_list = serializers.ListField(child=serializers.CharField())
    lowered_topics = serializers.ListField(
        child=serializers.CharField(),
        help_text=(
            "Those that the broker sends at a lower QoS than was asked: what comes "
            "while the link is broken may be lost."
        ),
    )
    reason = serializers.ChoiceField(Reason.choices, allow_blank=True)
    next_retry_at = UtcTimeField(allow_null=True)
    session_present = serializers.BooleanField(
        allow_null=True,
        help_text=(
            "At the last connect the broker still had our session; false after the "
            "first one means that messages may be missing."
        ),
    )
    shard = serializers.IntegerField()
    owner = serializers.CharField(allow_blank=True, help_text="The shard's worker.")
    last_message_at = UtcTimeField(allow_null=True)
    counters = serializers.DictField(
        child=serializers.IntegerField(),
        help_text=(
            "Messages since the connection was made. received = stored + duplicate + "
            "quarantined + dropped + in_flight + unexplained. While a worker reports: "
            "in_flight came in and is not stored yet, spooled is the part of it that "
            "waits on disk. unexplained is 0, or there is a fault of ours."
        ),
    )
    last_gap = GapSerializer(
        allow_null=True, help_text="The last time messages may have been missed."
    )
    status_changed_at = UtcTimeField()
    can_control = serializers.BooleanField(help_text="May you start and stop it?")


class EventSerializer(serializers.Serializer[Any]):
    """A change of a connection's status."""

    at = UtcTimeField()
    old_status = serializers.ChoiceField(Status.choices)
    new_status = serializers.ChoiceField(Status.choices)
    reason = serializers.ChoiceField(Reason.choices, allow_blank=True)
    detail = serializers.CharField(allow_blank=True)


class ControlSerializer(serializers.Serializer[Any]):
    """The answer to start and stop."""

    success = serializers.BooleanField()
    message = serializers.CharField()
