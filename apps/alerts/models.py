"""Troubles that people are told about, whom they are told to, and how that went."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.crypto import decrypt, encrypt
from apps.devices.models import Datalogger, Gateway, OfflineCause
from apps.sites.models import MqttConnection, Reason, Site

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class ChannelKind(models.TextChoices):
    EMAIL = "email", _("e-mail")
    WEBHOOK = "webhook", "webhook"


class AlertChannel(models.Model):
    """Somebody who wants to hear of alerts.

    `target`: e-mail addresses separated by commas, or the webhook's URL. The secret
    signs what is sent to a webhook.
    """

    kind = models.CharField(_("kind"), max_length=8, choices=ChannelKind.choices)
    name = models.CharField(_("name"), max_length=100)
    target = models.CharField(
        _("target"),
        max_length=1_000,
        help_text=_("E-mail addresses separated by commas, or a URL."),
    )
    secret_encrypted = models.TextField(blank=True, editable=False)
    site = models.ForeignKey(
        Site,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="alert_channels",
        verbose_name=_("site"),
        help_text=_("Empty: all sites."),
    )
    wants_connections = models.BooleanField(_("alerts of connections"), default=True)
    wants_devices = models.BooleanField(_("alerts of devices"), default=True)
    language = models.CharField(
        _("language"), max_length=2, choices=settings.LANGUAGES, default="en"
    )
    is_active = models.BooleanField(_("active"), default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("alert channel")
        verbose_name_plural = _("alert channels")
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    @property
    def has_secret(self) -> bool:
        return bool(self.secret_encrypted)

    def set_secret(self, plain: str) -> None:
        self.secret_encrypted = encrypt(plain)

    def read_secret(self) -> str:
        """Return the webhook's secret; raises `SecretUnreadableError`."""
        return decrypt(self.secret_encrypted, what="webhook secret")

    @property
    def addresses(self) -> list[str]:
        return [part.strip() for part in self.target.split(",") if part.strip()]


class AlertKind(models.TextChoices):
    CONNECTION = "connection", _("connection")
    GATEWAY = "gateway", _("gateway")
    DATALOGGER = "datalogger", _("datalogger")


class AlertQuerySet(models.QuerySet["Alert"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> AlertQuerySet:
        """Keep what people were told, of the sites that this user may read."""
        return self.filter(
            confirmed_at__isnull=False, site__in=Site.objects.visible_to(user)
        )


class Alert(models.Model):
    """One trouble of one thing, from its beginning to its end.

    First it is only watched (`confirmed_at` empty, nobody is told), and forgotten if
    it passes within the tolerance. `good_since`: the thing is well again, and if that
    lasts, the alert is closed. A deleted device leaves its name in `subject`.
    """

    kind = models.CharField(_("kind"), max_length=10, choices=AlertKind.choices)
    site = models.ForeignKey(Site, models.CASCADE, related_name="alerts")
    connection = models.ForeignKey(
        MqttConnection, models.SET_NULL, null=True, related_name="alerts"
    )
    gateway = models.ForeignKey(
        Gateway, models.SET_NULL, null=True, related_name="alerts"
    )
    datalogger = models.ForeignKey(
        Datalogger, models.SET_NULL, null=True, related_name="alerts"
    )
    subject = models.CharField(_("subject"), max_length=300)
    cause = models.CharField(_("cause"), max_length=32, blank=True)
    detail = models.CharField(_("detail"), max_length=300, blank=True)
    opened_at = models.DateTimeField(_("since"), help_text=_("When the trouble began."))
    confirmed_at = models.DateTimeField(
        _("confirmed"), null=True, help_text=_("When it had lasted long enough.")
    )
    good_since = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(_("closed"), null=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering: ClassVar = ["-opened_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=[kind],
                condition=Q(closed_at=None),
                name=f"one_open_{kind}_alert",
            )
            for kind in ("connection", "gateway", "datalogger")
        ]
        indexes: ClassVar = [
            models.Index(fields=["site", "-opened_at"], name="alerts_of_site"),
            models.Index(fields=["-opened_at", "-id"], name="alerts_by_time"),
            models.Index(fields=["closed_at"], name="alerts_by_end"),
        ]

    def __str__(self) -> str:
        return self.subject

    @property
    def object_id(self) -> int | None:
        """Return the id of the thing, None if it was deleted."""
        found: int | None = getattr(self, f"{self.kind}_id")
        return found

    @property
    def cause_in_words(self) -> str:
        causes = Reason if self.kind == AlertKind.CONNECTION else OfflineCause
        known = dict(causes.choices)
        return str(known.get(self.cause, self.cause))


class AlertEvent(models.TextChoices):
    OPENED = "opened", _("opened")
    CLOSED = "closed", _("closed")


class DeliveryState(models.TextChoices):
    WAITING = "waiting", _("waiting")
    DELIVERED = "delivered", _("delivered")
    GIVEN_UP = "given_up", _("given up")


class AlertDelivery(models.Model):
    """One alert on its way to one channel.

    Whoever sends it moves `next_try_at` ahead first, in one conditional UPDATE, so
    that two senders do not send it twice; one that dies leaves it to the next.
    """

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="deliveries")
    channel = models.ForeignKey(AlertChannel, models.CASCADE, related_name="deliveries")
    event = models.CharField(_("event"), max_length=8, choices=AlertEvent.choices)
    state = models.CharField(
        _("state"),
        max_length=10,
        choices=DeliveryState.choices,
        default=DeliveryState.WAITING,
    )
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    created_at = models.DateTimeField(default=timezone.now)
    next_try_at = models.DateTimeField(_("next try"), default=timezone.now)
    delivered_at = models.DateTimeField(_("delivered"), null=True)
    error = models.CharField(_("error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("alert delivery")
        verbose_name_plural = _("alert deliveries")
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["alert", "channel", "event"], name="told_once"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_try_at"],
                condition=Q(state="waiting"),
                name="deliveries_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.alert} → {self.channel} ({self.event})"
