"""The quarantine and the mappings in the admin.

What the quarantine shows was sent by anybody: always escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.http import HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

import apps.telemetry.admin_topics  # noqa: F401 (registers itself)
from apps.core.admin import ReadOnlyAdmin, SuperuserAdmin
from apps.core.texts import readable
from apps.sites.models import Site
from apps.telemetry import mappings
from apps.telemetry.forms import MappingForm
from apps.telemetry.mapping_values import MappingInvalidError
from apps.telemetry.models import QuarantinedMessage, TopicMapping
from apps.telemetry.replay import Replayed, replay

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.forms import ModelForm
    from django.http import HttpRequest, HttpResponse

HEX_BYTES = 4_096  # of a payload are shown in hexadecimal


class IsReplayed(admin.SimpleListFilter):
    title = _("replayed")
    parameter_name = "replayed"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        return [("no", _("No")), ("yes", _("Yes"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[QuarantinedMessage]
    ) -> QuerySet[QuarantinedMessage]:
        if self.value() not in ("no", "yes"):
            return queryset
        return queryset.filter(replayed_at__isnull=self.value() == "no")


@admin.register(QuarantinedMessage)
class QuarantinedMessageAdmin(ReadOnlyAdmin):
    list_display = (
        "received_at",
        "site",
        "reason",
        "short_topic",
        "payload_size",
        "replayed_at",
    )
    list_filter = ("reason", IsReplayed, "received_at", "site")
    list_select_related = ("site",)
    search_fields = ("topic", "detail", "site__name", "site__code")
    actions = ("replay",)
    fields = (
        "received_at",
        "site",
        "reason",
        "detail",
        "topic_in_full",
        "qos",
        "retain",
        "replayed_at",
        "payload_size",
        "content",
        "in_hex",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[QuarantinedMessage]:
        # 64 KiB a row: read for the one that is opened, not for a page of them.
        return super().get_queryset(request).defer("payload")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        offered = SuperuserAdmin.get_actions(self, request)
        return {name: action for name, action in offered.items() if name == "replay"}

    @admin.action(description=_("Replay: store what can be understood now"))
    def replay(
        self, request: HttpRequest, queryset: QuerySet[QuarantinedMessage]
    ) -> None:
        chosen: dict[int, list[int]] = {}
        for pk, site_id in queryset.values_list("pk", "site_id"):
            chosen.setdefault(site_id, []).append(pk)
        result = Replayed()
        for site in Site.objects.filter(pk__in=chosen):
            result.add(replay(site, ids=chosen[site.pk]))
        words = _(
            "%(replayed)d replayed, %(still)d still quarantined, %(skipped)d skipped"
        ) % {
            "replayed": result.replayed,
            "still": result.still_quarantined,
            "skipped": result.skipped,
        }
        level = messages.SUCCESS if result.replayed else messages.WARNING
        self.message_user(request, words, level)

    @admin.display(description=_("topic"), ordering="topic")
    def short_topic(self, row: QuarantinedMessage) -> str:
        return readable(row.topic[:80])

    @admin.display(description=_("topic"))
    def topic_in_full(self, row: QuarantinedMessage) -> str:
        return readable(row.topic)

    @admin.display(description=_("payload"))
    def content(self, row: QuarantinedMessage) -> str:
        text = bytes(row.payload).decode("utf-8", "backslashreplace")
        return format_html("<pre>{}</pre>", readable(text))

    @admin.display(description=_("payload in hexadecimal"))
    def in_hex(self, row: QuarantinedMessage) -> str:
        return format_html("<pre>{}</pre>", hexadecimal(bytes(row.payload)[:HEX_BYTES]))


@admin.register(TopicMapping)
class TopicMappingAdmin(SuperuserAdmin):
    """Mappings; the form and every change go through the services."""

    form = MappingForm
    list_display = (
        "short_name",
        "site",
        "datalogger_type",
        "datalogger_number",
        "is_active",
        "updated_at",
    )
    list_filter = ("is_active", "site")
    list_select_related = ("site",)
    search_fields = ("topic", "datalogger_number", "site__name", "site__code")

    def get_readonly_fields(
        self, request: HttpRequest, obj: TopicMapping | None = None
    ) -> tuple[str, ...]:
        times = ("created_at", "updated_at")
        return ("site", *times) if obj else times

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Say what only storing it could show, such as that a filter is missing."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except MappingInvalidError as error:
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(request.path)

    def save_model(
        self,
        request: HttpRequest,
        obj: TopicMapping,
        form: ModelForm[TopicMapping],
        change: bool,
    ) -> None:
        fields = {name: getattr(obj, name) for name in mappings.FIELDS}
        if change:
            stored = TopicMapping.objects.get(pk=obj.pk)
            mappings.mapping_update(stored, fields=fields)
        else:
            obj.pk = mappings.mapping_create(obj.site, **fields).pk
            obj.refresh_from_db()

    @admin.display(description=_("topic or version"), ordering="topic")
    def short_name(self, row: TopicMapping) -> str:
        return str(row)[:80]


def hexadecimal(payload: bytes) -> str:
    """Return lines of place, 16 bytes, and what of them is ASCII."""
    lines = []
    for place in range(0, len(payload), 16):
        part = payload[place : place + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 (ASCII)
        lines.append(f"{place:06x}  {part.hex(' '):<47}  {text}")
    return "\n".join(lines)
