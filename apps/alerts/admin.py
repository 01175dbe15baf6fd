"""Alert channels in the admin; alerts and deliveries are for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.utils.translation import gettext_lazy as _

from apps.alerts import sending
from apps.alerts.models import Alert, AlertChannel, AlertDelivery, ChannelKind
from apps.alerts.targets import MAX_SECRET, problem_with_target
from apps.alerts.webhook import NotDeliveredError
from apps.core.admin import ReadOnlyAdmin, SuperuserAdmin

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

MAX_TESTS = 5  # each may take 5 s, and the page waits for all


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    secret = forms.CharField(
        label=_("Secret"),
        required=False,
        strip=False,
        min_length=8,
        max_length=MAX_SECRET,
        widget=forms.PasswordInput(
            render_value=False, attrs={"autocomplete": "new-password"}
        ),
        help_text=_("Never shown. Leave blank to keep the stored one."),
    )

    class Meta:
        model = AlertChannel
        fields: ClassVar = [
            "name",
            "kind",
            "target",
            "secret",
            "site",
            "wants_connections",
            "wants_devices",
            "language",
            "is_active",
        ]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        if {"kind", "target"} <= cleaned.keys():
            problem = problem_with_target(cleaned["kind"], cleaned["target"])
            if problem:
                self.add_error("target", str(problem))
        needs_secret = cleaned.get("kind") == ChannelKind.WEBHOOK
        if needs_secret and not cleaned.get("secret") and not self.instance.has_secret:
            self.add_error(
                "secret", _("A webhook needs a secret, which signs what it gets")
            )
        return cleaned


@admin.register(AlertChannel)
class AlertChannelAdmin(SuperuserAdmin):
    form = ChannelForm
    list_display = (
        "name",
        "kind",
        "site",
        "wants_connections",
        "wants_devices",
        "is_active",
    )
    list_filter = ("kind", "is_active", "site")
    list_select_related = ("site",)
    search_fields = ("name", "target", "site__name", "site__code")
    autocomplete_fields = ("site",)
    actions = ("send_test",)

    def save_model(
        self,
        request: HttpRequest,
        obj: AlertChannel,
        form: ChannelForm,
        change: bool,
    ) -> None:
        if form.cleaned_data["secret"]:
            obj.set_secret(form.cleaned_data["secret"])
        super().save_model(request, obj, form, change)

    @admin.action(description=_("Send a test through the selected channels"))
    def send_test(self, request: HttpRequest, queryset: QuerySet[AlertChannel]) -> None:
        for channel in queryset[:MAX_TESTS]:
            try:
                sending.send_test(channel)
            except NotDeliveredError as error:
                words = _("%(name)s: not delivered, %(why)s") % {
                    "name": channel.name,
                    "why": error.words,
                }
                self.message_user(request, words, messages.ERROR)
            else:
                words = _("%(name)s: test delivered") % {"name": channel.name}
                self.message_user(request, words, messages.SUCCESS)


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = (
        "subject",
        "kind",
        "site",
        "cause",
        "detail",
        "opened_at",
        "confirmed_at",
        "closed_at",
    )
    list_filter = ("kind", ("closed_at", admin.EmptyFieldListFilter), "site")
    list_select_related = ("site",)
    search_fields = ("subject", "cause", "site__name", "site__code")
    date_hierarchy = "opened_at"


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(ReadOnlyAdmin):
    list_display = (
        "alert",
        "event",
        "channel",
        "state",
        "attempts",
        "created_at",
        "next_try_at",
        "delivered_at",
        "error",
    )
    list_filter = ("state", "event", "channel")
    list_select_related = ("alert", "channel")
    search_fields = ("alert__subject", "channel__name", "error")
