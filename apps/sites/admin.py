"""Sites and connections in the admin. Every change goes through the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

import apps.sites.admin_commands  # noqa: F401 (registers itself)
from apps.core.admin import ReadOnlyAdmin, SuperuserAdmin
from apps.core.crypto import SecretUnreadableError
from apps.core.errors import DomainError
from apps.sites import admin_trials, services
from apps.sites.badges import badge_for, reason_in_words
from apps.sites.forms import ConnectionForm, TopicFormSet
from apps.sites.models import (
    ConnectionEvent,
    MqttConnection,
    MqttTopic,
    ShardLease,
    Site,
    SiteMember,
)
from apps.sites.selectors import ConnectionStatus, statuses_of

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import Model, QuerySet
    from django.forms import BaseInlineFormSet, ModelForm
    from django.http import HttpRequest


class MemberInline(admin.TabularInline):  # type: ignore[type-arg]
    model = SiteMember
    extra = 0
    autocomplete_fields = ("user",)


@admin.register(Site)
class SiteAdmin(SuperuserAdmin):
    list_display = ("name", "code", "visibility", "timezone", "created_at")
    list_filter = ("visibility",)
    search_fields = ("name", "code")
    inlines = (MemberInline,)

    def save_model(
        self, request: HttpRequest, obj: Site, form: ModelForm[Site], change: bool
    ) -> None:
        fields = {name: form.cleaned_data[name] for name in form.cleaned_data}
        if change:
            services.site_update(obj, fields=fields)
        else:
            obj.pk = services.site_create(**fields).pk
            obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Site) -> None:
        services.site_delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        for site in queryset:
            services.site_delete(site)

    def get_deleted_objects(
        self,
        objs: Any,  # noqa: ANN401 (Django's signature)
        request: HttpRequest,
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name the sites only: a site may have thousands of devices and events."""
        sites = [str(site) for site in objs]
        return sites, {str(Site._meta.verbose_name_plural): len(sites)}, set(), []


class TopicInline(admin.TabularInline):  # type: ignore[type-arg]
    model = MqttTopic
    formset = TopicFormSet
    extra = 0


class ConnectionChangeList(ChangeList):
    """The rows of one page, each with what is true about it now."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        for row, now in zip(rows, statuses_of(request.user, rows), strict=True):
            row.now = now
        self.result_list = rows


def _now(row: MqttConnection) -> ConnectionStatus:
    now: ConnectionStatus = row.now  # type: ignore[attr-defined]  # by the change list
    return now


@admin.register(MqttConnection)
class ConnectionAdmin(SuperuserAdmin):
    form = ConnectionForm
    inlines = (TopicInline,)
    list_display = (
        "site",
        "badge",
        "why",
        "is_enabled",
        "broker",
        "owner_now",
        "last_message",
    )
    list_display_links = ("site",)
    list_filter = ("is_enabled", "status", "reason", "protocol", "use_tls")
    list_select_related = ("site", "stats")
    search_fields = ("site__name", "site__code", "broker_host")
    actions = ("start", "stop")
    readonly_fields = (
        "site",
        "secrets",
        "is_enabled",
        "status",
        "reason",
        "error_message",
        "status_changed_at",
        "last_connected_at",
        "last_heartbeat_at",
        "connection_errors",
        "mqtt_retry_count",
        "mqtt_next_retry",
        "subscribed_topics",
        "owner",
        "generation",
    )
    fieldsets = (
        (None, {"fields": ("site", "is_enabled")}),
        (
            _("Broker"),
            {
                "fields": (
                    "broker_host",
                    "broker_port",
                    "username",
                    "password",
                    "remove_password",
                    "secrets",
                    "client_id_prefix",
                    "protocol",
                    "keepalive",
                    "clean_session",
                )
            },
        ),
        (
            _("TLS"),
            {
                "fields": (
                    "use_tls",
                    "tls_ca",
                    "tls_client_cert",
                    "tls_client_key",
                    "tls_server_name",
                )
            },
        ),
        (_("Last recorded"), {"fields": readonly_fields[3:]}),
    )

    class Media:
        css: ClassVar = {"all": ["sites/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a connection comes and goes with its site

    def has_delete_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(admin_trials.page)
        name = "sites_mqttconnection_test"
        own = [path("<int:connection_id>/change/test/", page, name=name)]
        return [*own, *super().get_urls()]

    def get_changelist(
        self, request: HttpRequest, **kwargs: object
    ) -> type[ConnectionChangeList]:
        return ConnectionChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[MqttConnection]:
        return super().get_queryset(request).defer("stats__recent")

    def save_model(
        self,
        request: HttpRequest,
        obj: MqttConnection,
        form: ModelForm[MqttConnection],
        change: bool,
    ) -> None:
        """Wait for the topics: one change of settings is one new generation."""

    def save_related(
        self,
        request: HttpRequest,
        form: Any,  # noqa: ANN401 (our ConnectionForm; Django's signature)
        formsets: list[BaseInlineFormSet[Any, Any, Any]],
        change: bool,
    ) -> None:
        [topics] = formsets
        topics.save(commit=False)  # lists what changed, for the admin's log
        if not form.has_changed() and not topics.has_changed():
            return
        connection = services.connection_configure(
            MqttConnection.objects.get(pk=form.instance.pk),
            fields=form.settings(),
            password=form.new_password(),
            tls_client_key=form.new_tls_client_key(),
            topics=topics.topics() if isinstance(topics, TopicFormSet) else None,
        )
        if connection.is_enabled:
            self.message_user(request, _("The connection changes to the new settings."))

    @admin.display(description=_("status"), ordering="status")
    def badge(self, row: MqttConnection) -> str:
        badge = badge_for(_now(row).status)
        return format_html(
            '<span class="status status-{}">{}</span>', badge.tone, badge.text
        )

    @admin.display(description=_("reason"))
    def why(self, row: MqttConnection) -> str:
        return reason_in_words(_now(row).reason) or "–"

    @admin.display(description=_("broker"))
    def broker(self, row: MqttConnection) -> str:
        return f"{row.broker_host}:{row.broker_port}" if row.broker_host else "–"

    @admin.display(description=_("owner"))
    def owner_now(self, row: MqttConnection) -> str:
        return _now(row).owner or "–"

    @admin.display(description=_("last message"))
    def last_message(self, row: MqttConnection) -> datetime | None:
        return _now(row).last_message_at

    @admin.display(description=_("stored secrets"))
    def secrets(self, row: MqttConnection) -> str:
        password = _state_of(row.has_password, row.read_password)
        key = _state_of(bool(row.tls_client_key_encrypted), row.read_tls_client_key)
        return format_html(
            "{}: {}<br>{}: {}", _("Password"), password, _("Client private key"), key
        )

    @admin.action(description=_("Start the selected connections"))
    def start(self, request: HttpRequest, queryset: QuerySet[MqttConnection]) -> None:
        self._control(request, queryset, services.connection_start, _("started"))

    @admin.action(description=_("Stop the selected connections"))
    def stop(self, request: HttpRequest, queryset: QuerySet[MqttConnection]) -> None:
        self._control(request, queryset, services.connection_stop, _("stopped"))

    def _control(
        self,
        request: HttpRequest,
        rows: QuerySet[MqttConnection],
        act: Callable[[Site], object],
        done: object,
    ) -> None:
        for row in rows:
            try:
                act(row.site)
            except DomainError as error:
                self.message_user(request, error.message, messages.ERROR)
            else:
                text = _("%(site)s is being %(done)s.")
                self.message_user(request, text % {"site": row.site, "done": done})


def _state_of(is_stored: bool, read: Callable[[], str]) -> object:
    """Return whether a secret is there and can be read, never the secret."""
    if not is_stored:
        return _("none")
    try:
        read()
    except SecretUnreadableError as error:
        return str(error)
    return _("stored")


@admin.register(ConnectionEvent)
class ConnectionEventAdmin(ReadOnlyAdmin):
    list_display = ("at", "connection", "old_status", "new_status", "reason", "detail")
    list_filter = ("new_status", "reason")
    list_select_related = ("connection__site",)
    search_fields = ("connection__site__name", "connection__site__code", "detail")


@admin.register(ShardLease)
class ShardLeaseAdmin(ReadOnlyAdmin):
    list_display = ("shard", "owner", "alive", "epoch", "acquired_at", "expires_at")
    search_fields = ("owner",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ShardLease]:
        is_alive = ExpressionWrapper(
            Q(expires_at__gt=Now()), output_field=BooleanField()
        )
        rows: QuerySet[ShardLease] = super().get_queryset(request)
        return rows.annotate(alive=is_alive)

    @admin.display(description=_("alive"), boolean=True, ordering="alive")
    def alive(self, row: ShardLease) -> bool:
        return bool(row.alive)  # type: ignore[attr-defined]  # annotated above
