"""Devices as JSON, and the parameters that choose them."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from apps.core.api import PageQuery
from apps.core.parsing import UtcTimeField, ValueField
from apps.devices.models import (
    MAX_OFFLINE_AFTER_S,
    MAX_VERSION,
    OfflineCause,
    Presence,
)
from apps.devices.uptime import MONTH, WINDOWS


class DataloggersQuery(serializers.Serializer[Any]):
    site_id = serializers.IntegerField(required=False, help_text="Only this site's.")
    online_only = serializers.BooleanField(default=False)
    search = serializers.CharField(
        allow_blank=True,
        default="",
        max_length=200,
        help_text="Part of the label, the serial number, or 'type number'.",
    )


class GatewaysQuery(serializers.Serializer[Any]):
    site_id = serializers.IntegerField(required=False, help_text="Only this site's.")


class SensorsQuery(serializers.Serializer[Any]):
    datalogger_id = serializers.IntegerField()


class PresenceSerializer(serializers.Serializer[Any]):
    """What every device says about being there."""

    is_online = serializers.BooleanField()
    presence = serializers.ChoiceField(
        Presence.choices, help_text="unknown: our own link to the broker is down."
    )
    presence_since = UtcTimeField()
    offline_cause = serializers.ChoiceField(
        OfflineCause.choices, allow_blank=True, help_text="Empty unless offline."
    )
    last_seen_at = UtcTimeField(allow_null=True)
    interval_s = serializers.IntegerField(
        allow_null=True, help_text="The promised time between heartbeats."
    )
    offline_after_s = serializers.IntegerField(
        allow_null=True,
        help_text="Seconds of silence, if people set them; else 1.5 times interval_s.",
    )
    uptime_s = serializers.IntegerField(
        allow_null=True, help_text="Since the device's own start, as it says."
    )
    rssi = serializers.FloatField(allow_null=True)
    battery = serializers.FloatField(allow_null=True)


class GatewaySerializer(PresenceSerializer):
    id = serializers.IntegerField()
    site_id = serializers.IntegerField()
    number = serializers.CharField()
    label = serializers.CharField(help_text="Never empty.")  # type: ignore[assignment]  # DRF moves it away
    serial_number = serializers.CharField(allow_blank=True)
    firmware_version = serializers.CharField(allow_blank=True)
    dataloggers_count = serializers.IntegerField()


class DataloggerSerializer(PresenceSerializer):
    id = serializers.IntegerField()
    site_id = serializers.IntegerField()
    site_name = serializers.CharField()
    gateway_id = serializers.IntegerField(allow_null=True)
    type = serializers.CharField()
    number = serializers.CharField()
    serial_number = serializers.CharField(allow_blank=True)
    label = serializers.CharField(help_text="Never empty.")  # type: ignore[assignment]  # DRF moves it away
    firmware_version = serializers.CharField(allow_blank=True)
    protocol_version = serializers.IntegerField(allow_null=True)
    sensors_count = serializers.IntegerField()
    uptime_percentage = serializers.FloatField(
        allow_null=True,
        help_text="Of the last 24 h; null if neither online nor offline is known.",
    )


class DataloggerDetailSerializer(DataloggerSerializer):
    uptime = serializers.DictField(
        child=serializers.FloatField(allow_null=True),
        help_text="Percentages over 24h, 7d, 30d and month, the site's current month.",
    )


class SensorSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    datalogger_id = serializers.IntegerField()
    key = serializers.CharField(help_text="The name in the payload.")
    label = serializers.CharField(help_text="Never empty.")  # type: ignore[assignment]  # DRF moves it away
    sensor_type = serializers.CharField(allow_blank=True)
    is_online = serializers.BooleanField(help_text="As its datalogger.")
    current_value = ValueField(allow_null=True)
    current_at = UtcTimeField(allow_null=True, help_text="When it was measured.")
    unit_of_measure = serializers.CharField(allow_blank=True)


class GatewayChangeSerializer(serializers.Serializer[Any]):
    """What people may say about a gateway."""

    label = serializers.CharField(  # type: ignore[assignment]  # DRF moves it away
        max_length=200,
        allow_blank=True,
        help_text="Kept, whatever the device says; empty: the device's own word.",
    )
    offline_after_s = serializers.IntegerField(
        min_value=1,
        max_value=MAX_OFFLINE_AFTER_S,
        allow_null=True,
        help_text="Seconds of silence; null: 1.5 times the promised interval.",
    )


class DataloggerChangeSerializer(GatewayChangeSerializer):
    """What people may say about a datalogger."""

    protocol_version = serializers.IntegerField(
        min_value=1,
        max_value=MAX_VERSION,
        allow_null=True,
        help_text="Of payloads that do not say it; null: 1.",
    )


class SensorChangeSerializer(serializers.Serializer[Any]):
    """What people may say about a sensor."""

    label = serializers.CharField(max_length=200, allow_blank=True)  # type: ignore[assignment]  # DRF moves it away
    sensor_type = serializers.CharField(max_length=64, allow_blank=True)
    unit_of_measure = serializers.CharField(max_length=32, allow_blank=True)


class UptimeQuery(PageQuery):
    window = serializers.ChoiceField(
        WINDOWS,
        required=False,
        help_text="24h without it, or the month that `month` names.",
    )
    month = serializers.RegexField(
        r"^20[0-9]{2}-(0[1-9]|1[0-2])$",
        required=False,
        help_text="A calendar month in the site's time zone, such as 2026-11.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("month") and attrs.get("window", MONTH) != MONTH:
            problem = _("A month goes with window=month only")
            raise serializers.ValidationError({"month": [problem]})
        return attrs


class OutageSerializer(serializers.Serializer[Any]):
    """A time offline; one that began before the window is told whole."""

    started_at = UtcTimeField()
    ended_at = UtcTimeField(allow_null=True, help_text="null: it lasts.")
    duration_s = serializers.FloatField(help_text="Until now, if it lasts.")
    cause = serializers.ChoiceField(OfflineCause.choices, allow_blank=True)


class UptimeSerializer(serializers.Serializer[Any]):
    datalogger_id = serializers.IntegerField()
    window = serializers.ChoiceField(WINDOWS)
    to = UtcTimeField(help_text="The end of the window, now at the latest.")
    uptime_percentage = serializers.FloatField(
        allow_null=True,
        help_text="online / (online + offline); null if neither is known.",
    )
    online_s = serializers.FloatField()
    offline_s = serializers.FloatField()
    unknown_s = serializers.FloatField(
        help_text="Our own link was down, or the datalogger was not known yet."
    )
    outages = OutageSerializer(many=True, help_text="Newest first.")
    outages_count = serializers.IntegerField(help_text="On all pages together.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # `from` is a word of Python, so it cannot be declared as an attribute.
        return {"from": UtcTimeField(), **super().get_fields()}
