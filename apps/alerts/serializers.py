"""Channels and alerts as JSON. A webhook's secret goes in and never comes out."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework import serializers

from apps.alerts.models import AlertChannel, AlertKind, ChannelKind
from apps.alerts.targets import MAX_SECRET, problem_with_target
from apps.core.parsing import UtcTimeField
from apps.sites.models import Site

EVENTS = {"connection": "wants_connections", "device": "wants_devices"}
MAX_ID = 2**63 - 1


class ChannelSerializer(serializers.Serializer[Any]):
    """Who is told of alerts. `secret` is never answered; left out, it stays."""

    id = serializers.IntegerField(read_only=True)
    kind = serializers.ChoiceField(ChannelKind.choices)
    name = serializers.CharField(max_length=100)
    target = serializers.CharField(
        max_length=1_000,
        help_text="E-mail addresses separated by commas, or the webhook's URL.",
    )
    secret = serializers.CharField(
        write_only=True,
        required=False,
        min_length=8,
        max_length=MAX_SECRET,
        trim_whitespace=False,
        help_text="Signs what a webhook gets; required for one.",
    )
    has_secret = serializers.BooleanField(read_only=True)
    site_id = serializers.IntegerField(
        default=None,
        allow_null=True,
        min_value=1,
        max_value=MAX_ID,
        help_text="null: all sites.",
    )
    events = serializers.ListField(
        child=serializers.ChoiceField(list(EVENTS)),
        default=list(EVENTS),
        min_length=1,
        max_length=len(EVENTS),
        help_text="What to tell.",
    )
    language = serializers.ChoiceField(settings.LANGUAGES, default="en")
    is_active = serializers.BooleanField(default=True)

    def to_representation(self, row: AlertChannel) -> dict[str, Any]:
        return {
            "id": row.pk,
            "kind": row.kind,
            "name": row.name,
            "target": row.target,
            "has_secret": row.has_secret,
            "site_id": row.site_id,
            "events": [name for name, field in EVENTS.items() if getattr(row, field)],
            "language": row.language,
            "is_active": row.is_active,
        }

    def validate_site_id(self, site_id: int | None) -> int | None:
        if site_id is not None and not Site.objects.filter(pk=site_id).exists():
            raise serializers.ValidationError(_("There is no such site"))
        return site_id

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        row = self.instance
        kind = attrs.get("kind", row.kind if row else "")
        target = attrs.get("target", row.target if row else "")
        if {"kind", "target"} & attrs.keys():
            problem = problem_with_target(kind, target)
            if problem:
                raise serializers.ValidationError({"target": [str(problem)]})
        has_secret = "secret" in attrs or (row is not None and row.has_secret)
        if kind == ChannelKind.WEBHOOK and not has_secret:
            words = _("A webhook needs a secret, which signs what it gets")
            raise serializers.ValidationError({"secret": [words]})
        return attrs

    def save_channel(self) -> AlertChannel:
        """Store what was validated, in a new row or the one that was given."""
        row: AlertChannel = self.instance or AlertChannel()
        fields = dict(self.validated_data)
        secret = fields.pop("secret", None)
        events = fields.pop("events", None)
        for name, value in fields.items():
            setattr(row, name, value)
        if secret is not None:
            row.set_secret(secret)
        if events is not None:
            for name, field in EVENTS.items():
                setattr(row, field, name in events)
        row.save()
        return row


class TestSerializer(serializers.Serializer[Any]):
    """How the test of a channel went."""

    __test__ = False  # pytest: not one of yours

    success = serializers.BooleanField()
    message = serializers.CharField(help_text="What happened, in words.")


class AlertSerializer(serializers.Serializer[Any]):
    """A trouble that lasted; `closed_at` is null while it does."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(AlertKind.choices)
    site_id = serializers.IntegerField()
    site_name = serializers.CharField(source="site.name")
    connection_id = serializers.IntegerField(allow_null=True)
    gateway_id = serializers.IntegerField(allow_null=True)
    datalogger_id = serializers.IntegerField(allow_null=True)
    subject = serializers.CharField(help_text="The thing's name when it began.")
    cause = serializers.CharField(
        allow_blank=True,
        help_text="A connection's `reason`, or a device's cause of being offline.",
    )
    detail = serializers.CharField(allow_blank=True, help_text='"flapping" or empty.')
    opened_at = UtcTimeField(help_text="When the trouble began.")
    confirmed_at = UtcTimeField(help_text="When it had lasted long enough to tell.")
    closed_at = UtcTimeField(allow_null=True)


class AlertsQuery(serializers.Serializer[Any]):
    open = serializers.BooleanField(
        required=False, help_text="true: only open ones; false: only closed ones."
    )
    site_id = serializers.IntegerField(required=False, help_text="Only this site's.")
