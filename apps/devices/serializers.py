"""Devices as JSON, and the parameters that choose them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.core.parsing import UtcTimeField, ValueField
from apps.devices.models import Presence


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
    last_seen_at = UtcTimeField(allow_null=True)
    interval_s = serializers.IntegerField(
        allow_null=True, help_text="The promised time between heartbeats."
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
