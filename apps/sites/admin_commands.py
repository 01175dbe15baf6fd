"""The ledger of commands in the admin: read, searched, never written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from apps.core.admin import ReadOnlyAdmin
from apps.sites.models import Command

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(Command)
class CommandAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "site",
        "username",
        "topic",
        "state",
        "reason",
        "payload_size",
        "qos",
        "retain",
        "took",
        "replied_at",
    )
    list_filter = ("state", "reason", "qos", "retain")
    list_select_related = ("site",)
    date_hierarchy = "created_at"
    search_fields = (
        "topic",
        "username",
        "site__name",
        "site__code",
        "payload_sha256",
        "detail",
    )
    exclude = ("payload", "request_sha256")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Command]:
        rows: QuerySet[Command] = super().get_queryset(request)
        return rows.defer("payload")

    @admin.display(description=_("PUBACK (ms)"))
    def took(self, row: Command) -> float | None:
        return row.puback_ms
