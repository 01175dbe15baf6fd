"""The quarantine in the admin. What it shows was sent by anybody: always escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from apps.core.admin import ReadOnlyAdmin
from apps.telemetry.models import QuarantinedMessage

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(QuarantinedMessage)
class QuarantinedMessageAdmin(ReadOnlyAdmin):
    list_display = ("received_at", "site", "reason", "short_topic", "payload_size")
    list_filter = ("reason", "site")
    list_select_related = ("site",)
    search_fields = ("topic", "detail", "site__name", "site__code")
    fields = (
        "received_at",
        "site",
        "reason",
        "detail",
        "topic",
        "qos",
        "retain",
        "payload_size",
        "content",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[QuarantinedMessage]:
        # 64 KiB a row: read for the one that is opened, not for a page of them.
        return super().get_queryset(request).defer("payload")

    @admin.display(description=_("topic"), ordering="topic")
    def short_topic(self, row: QuarantinedMessage) -> str:
        return readable(row.topic[:80])

    @admin.display(description=_("payload"))
    def content(self, row: QuarantinedMessage) -> str:
        text = bytes(row.payload).decode("utf-8", "backslashreplace")
        return format_html("<pre>{}</pre>", readable(text))


def readable(text: str) -> str:
    """Return the text with control and direction-changing characters spelled out."""
    return "".join(
        letter
        if letter.isprintable() or letter in "\n\t"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )
