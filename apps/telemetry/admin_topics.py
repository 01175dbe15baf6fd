"""Discovered topics and discovery sessions in the admin.

Here and not with the devices: to ignore an accepted topic is to remove its mapping.
What is shown was sent by anybody: always escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.utils.translation import gettext_lazy as _

from apps.core.admin import ReadOnlyAdmin, SuperuserAdmin
from apps.core.errors import DomainError
from apps.devices.discovery_sessions import session_start
from apps.devices.models import DiscoveredTopic, DiscoverySession, TopicState
from apps.sites.admin import ConnectionAdmin, SiteAdmin
from apps.sites.models import MqttConnection, Site
from apps.telemetry.accepting import topic_decide, topic_forget

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

ADMIN_DISCOVERS_S = 60


class TopicForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at runtime
    def clean_state(self) -> str:
        state = str(self.cleaned_data["state"])
        if state == TopicState.ACCEPTED != self.instance.state:
            raise forms.ValidationError(
                _("A topic is accepted with a mapping: add one for this topic")
            )
        return state


@admin.register(DiscoveredTopic)
class DiscoveredTopicAdmin(SuperuserAdmin):
    form = TopicForm
    show_full_result_count = False
    list_per_page = 50
    list_display = (
        "short_topic",
        "site",
        "state",
        "content_type",
        "message_count",
        "rate",
        "last_seen",
    )
    list_filter = ("state", "content_type", "site")
    list_select_related = ("site",)
    search_fields = ("topic", "site__name", "site__code")
    actions = ("ignore",)
    fields = (
        "site",
        "topic",
        "state",
        "content_type",
        "payload",
        "payload_size",
        "paths",
        "message_count",
        "rate",
        "qos",
        "retain",
        "first_seen",
        "last_seen",
        "has_own_filter",
    )
    readonly_fields = tuple(name for name in fields if name != "state")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # topics are found

    def get_queryset(self, request: HttpRequest) -> QuerySet[DiscoveredTopic]:
        rows: QuerySet[DiscoveredTopic] = super().get_queryset(request)
        return rows.defer("last_payload", "paths")

    def save_model(
        self,
        request: HttpRequest,
        obj: DiscoveredTopic,
        form: Any,  # noqa: ANN401 (our TopicForm; Django's signature)
        change: bool,
    ) -> None:
        topic_decide(obj, state=form.cleaned_data["state"])

    def delete_model(self, request: HttpRequest, obj: DiscoveredTopic) -> None:
        topic_forget(obj)

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredTopic]
    ) -> None:
        for row in queryset:
            topic_forget(row)

    @admin.action(description=_("Ignore the selected topics"))
    def ignore(self, request: HttpRequest, queryset: QuerySet[DiscoveredTopic]) -> None:
        for row in queryset:
            topic_decide(row, state=TopicState.IGNORED)
        self.message_user(request, _("The selected topics are ignored."))

    @admin.display(description=_("topic"), ordering="topic")
    def short_topic(self, row: DiscoveredTopic) -> str:
        return row.topic[:120] or "–"

    @admin.display(description=_("messages per minute"), ordering="rate_per_minute")
    def rate(self, row: DiscoveredTopic) -> str:
        return "–" if row.rate_per_minute is None else f"{row.rate_per_minute:.3g}"

    @admin.display(description=_("last payload"))
    def payload(self, row: DiscoveredTopic) -> str:
        return bytes(row.last_payload).decode("utf-8", "backslashreplace") or "–"


@admin.register(DiscoverySession)
class DiscoverySessionAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "site",
        "state",
        "username",
        "duration_s",
        "messages",
        "topics",
        "detail",
    )
    list_filter = ("state", "site")
    list_select_related = ("site",)
    search_fields = ("site__name", "site__code", "username", "detail")


@admin.action(description=_("Discover topics for 60 seconds"))
def discover(
    model_admin: admin.ModelAdmin[Any],
    request: HttpRequest,
    queryset: QuerySet[Site] | QuerySet[MqttConnection],
) -> None:
    for row in queryset:
        site = row if isinstance(row, Site) else row.site
        try:
            session_start(site, user=request.user, duration_s=ADMIN_DISCOVERS_S)
        except DomainError as error:
            model_admin.message_user(request, error.message, messages.ERROR)
        else:
            text = _("%(site)s is being discovered.") % {"site": site}
            model_admin.message_user(request, text)


# Sites know nothing of devices: the action comes to their pages from here.
for page in (SiteAdmin, ConnectionAdmin):
    page.actions = (*(page.actions or ()), discover)  # type: ignore[misc]  # ours
