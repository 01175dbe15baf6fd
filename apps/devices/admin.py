"""Devices in the admin: what they said is shown, how they are called can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from apps.core.admin import SuperuserAdmin
from apps.devices.models import Datalogger, Gateway, SensorDevice

if TYPE_CHECKING:
    from django.http import HttpRequest

OBSERVED = (
    "presence",
    "presence_since",
    "last_seen_at",
    "interval_s",
    "offline_after",
    "serial_number",
    "firmware_version",
    "uptime_s",
    "rssi",
    "battery",
    "created_at",
)


@admin.register(Gateway)
class GatewayAdmin(SuperuserAdmin):
    list_display = (
        "__str__",
        "site",
        "number",
        "serial_number",
        "presence",
        "last_seen_at",
    )
    list_filter = ("presence", "site")
    list_select_related = ("site",)
    search_fields = ("number", "label", "serial_number", "site__name", "site__code")
    readonly_fields = ("site", "number", *OBSERVED)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # devices introduce themselves


@admin.register(Datalogger)
class DataloggerAdmin(SuperuserAdmin):
    list_display = (
        "__str__",
        "site",
        "type",
        "number",
        "serial_number",
        "presence",
        "last_seen_at",
        "firmware_version",
    )
    list_filter = ("presence", "type", "site")
    list_select_related = ("site",)
    search_fields = (
        "type",
        "number",
        "label",
        "serial_number",
        "site__name",
        "site__code",
    )
    readonly_fields = ("site", "gateway", "type", "number", *OBSERVED)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(SensorDevice)
class SensorAdmin(SuperuserAdmin):
    list_display = (
        "__str__",
        "datalogger",
        "site",
        "key",
        "sensor_type",
        "value",
        "current_at",
    )
    list_filter = ("sensor_type", "datalogger__site")
    list_select_related = ("datalogger__site",)
    search_fields = (
        "key",
        "label",
        "datalogger__label",
        "datalogger__serial_number",
        "datalogger__site__name",
    )
    readonly_fields = (
        "datalogger",
        "key",
        "current_value",
        "current_text",
        "current_at",
        "created_at",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("site"), ordering="datalogger__site__name")
    def site(self, row: SensorDevice) -> str:
        return str(row.datalogger.site)

    @admin.display(description=_("current value"))
    def value(self, row: SensorDevice) -> str:
        known = row.current_text if row.current_text is not None else row.current_value
        return "–" if known is None else f"{known} {row.unit_of_measure}".strip()
