"""Devices in the admin: what they said is shown, how they are called can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from apps.core.admin import ReadOnlyAdmin, SuperuserAdmin
from apps.devices import services
from apps.devices.models import Datalogger, Gateway, PresencePeriod, SensorDevice

if TYPE_CHECKING:
    from django.forms import ModelForm
    from django.http import HttpRequest

OBSERVED = (
    "presence",
    "offline_cause",
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


class DeviceAdmin(SuperuserAdmin):
    """A device comes by itself; people only say how it is called and treated."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,  # noqa: ANN401 (a Gateway or a Datalogger)
        form: ModelForm[Any],
        change: bool,
    ) -> None:
        """Store what was changed; the rest of the form may be minutes old."""
        given = {name: form.cleaned_data[name] for name in form.changed_data}
        services.device_update(obj, given)


@admin.register(Gateway)
class GatewayAdmin(DeviceAdmin):
    list_display = (
        "__str__",
        "site",
        "number",
        "serial_number",
        "presence",
        "offline_cause",
        "last_seen_at",
    )
    list_filter = ("presence", "offline_cause", "site")
    list_select_related = ("site",)
    search_fields = ("number", "label", "serial_number", "site__name", "site__code")
    readonly_fields = ("site", "number", *OBSERVED)


@admin.register(Datalogger)
class DataloggerAdmin(DeviceAdmin):
    list_display = (
        "__str__",
        "site",
        "type",
        "number",
        "serial_number",
        "presence",
        "offline_cause",
        "last_seen_at",
        "firmware_version",
    )
    list_filter = ("presence", "offline_cause", "type", "site")
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


@admin.register(PresencePeriod)
class PresencePeriodAdmin(ReadOnlyAdmin):
    list_display = ("datalogger", "site", "presence", "cause", "started_at", "ended_at")
    list_filter = ("presence", "cause", "datalogger__site")
    list_select_related = ("datalogger__site",)
    search_fields = (
        "datalogger__type",
        "datalogger__number",
        "datalogger__label",
        "datalogger__serial_number",
        "datalogger__site__name",
    )

    @admin.display(description=_("site"), ordering="datalogger__site__name")
    def site(self, row: PresencePeriod) -> str:
        return str(row.datalogger.site)


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
