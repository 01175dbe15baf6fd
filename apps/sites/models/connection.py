"""A site's broker connection: its settings, its topics, what happened to it."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.crypto import decrypt, encrypt
from apps.sites.models.site import Site
from apps.sites.patterns import problem_with_pattern


def validate_pattern(value: str) -> None:
    problem = problem_with_pattern(value)
    if problem:
        raise ValidationError(str(problem))


class Status(models.TextChoices):
    """What the badge shows (texts and tones: `apps.sites.badges`)."""

    CONNECTED = "connected", _("MQTT connected")
    CONNECTING = "connecting", _("Connecting...")
    DISCONNECTED = "disconnected", _("MQTT disconnected")
    DISABLED = "disabled", _("Disconnecting...")
    ERROR = "error", _("MQTT error")


class Reason(models.TextChoices):
    """Why a connection is not connected; empty when there is nothing to explain."""

    NONE = "", ""
    AUTH = "auth", _("user name or password refused")
    DNS = "dns", _("host name not found")
    REFUSED = "refused", _("nothing accepts connections there")
    TIMEOUT = "timeout", _("no answer in time")
    TLS = "tls", _("secure connection failed")
    PROTOCOL = "protocol", _("the broker broke the protocol")
    SUBSCRIBE = "subscribe", _("the broker refused a subscription")
    DUPLICATE_CLIENT_ID = "duplicate_client_id", _("another client uses our client id")
    LOST = "lost", _("connection lost")
    WORKER_LOST = "worker_lost", _("no worker looks after this site")
    CONFIG = "config", _("settings cannot be used")


class Protocol(models.TextChoices):
    V311 = "3.1.1", "MQTT 3.1.1"
    V5 = "5", "MQTT 5"


class MqttConnection(models.Model):
    """The configured link to one site's broker: desired state, and what was observed.

    `is_enabled`, the settings and `generation` are what people want. The observed
    fields are written by `apps.sites.reports` alone, from what the owner reported;
    (`report_epoch`, `report_seq`) only grow, so that a late report changes nothing.
    """

    site = models.OneToOneField(Site, models.CASCADE, related_name="connection")

    broker_host = models.CharField(_("broker host"), max_length=255, blank=True)
    broker_port = models.PositiveIntegerField(
        _("broker port"),
        default=1883,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
    )
    username = models.CharField(_("user name"), max_length=255, blank=True)
    password_encrypted = models.TextField(blank=True, editable=False)
    client_id_prefix = models.CharField(
        _("client id prefix"),
        max_length=50,
        blank=True,
        help_text=_("Empty: site_ID. The instance id is appended."),
    )
    protocol = models.CharField(
        _("protocol"), max_length=8, choices=Protocol.choices, default=Protocol.V311
    )
    keepalive = models.PositiveIntegerField(
        _("keepalive (s)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(5), MaxValueValidator(3600)],
        help_text=_("Empty: MQTT_KEEP_ALIVE. A dead link shows after twice as long."),
    )
    clean_session = models.BooleanField(
        _("clean session"),
        null=True,
        blank=True,
        help_text=_(
            "Empty: MQTT_CLEAN_SESSION. Yes means live only: what is published "
            "while we are away is lost."
        ),
    )
    use_tls = models.BooleanField(_("TLS"), default=False)
    tls_ca = models.TextField(
        _("CA certificates (PEM)"), blank=True, help_text=_("Empty: the system's.")
    )
    tls_client_cert = models.TextField(_("client certificate (PEM)"), blank=True)
    tls_client_key_encrypted = models.TextField(blank=True, editable=False)
    tls_server_name = models.CharField(
        _("TLS server name"),
        max_length=255,
        blank=True,
        help_text=_("Empty: the broker host."),
    )

    is_enabled = models.BooleanField(_("enabled"), default=False)
    generation = models.PositiveBigIntegerField(default=1, editable=False)
    restarts = models.PositiveBigIntegerField(
        db_default=0,
        editable=False,
        help_text="Another number is another link: the owner connects anew.",
    )

    status = models.CharField(
        _("status"),
        max_length=16,
        choices=Status.choices,
        default=Status.DISCONNECTED,
        editable=False,
    )
    reason = models.CharField(
        _("reason"),
        max_length=32,
        choices=Reason.choices,
        default=Reason.NONE,
        blank=True,
        editable=False,
    )
    error_message = models.TextField(blank=True, editable=False)
    status_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    last_connected_at = models.DateTimeField(null=True, editable=False)
    last_heartbeat_at = models.DateTimeField(
        null=True, editable=False, help_text=_("When the owner last reported.")
    )
    connection_errors = models.PositiveBigIntegerField(default=0, editable=False)
    mqtt_retry_count = models.PositiveIntegerField(default=0, editable=False)
    mqtt_next_retry = models.DateTimeField(null=True, editable=False)
    subscribed_topics = models.JSONField(default=list, editable=False)
    owner = models.CharField(max_length=255, blank=True, editable=False)
    away_since = models.DateTimeField(
        null=True,
        editable=False,
        help_text=_("When it was last surely heard, while that is over."),
    )
    recent_per_minute = models.PositiveIntegerField(
        db_default=0, editable=False, help_text=_("Messages, while it last ran.")
    )
    report_epoch = models.PositiveBigIntegerField(default=0, editable=False)
    report_seq = models.PositiveBigIntegerField(default=0, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("MQTT connection")
        verbose_name_plural = _("MQTT connections")
        ordering: ClassVar = ["site_id"]

    def __str__(self) -> str:
        return f"{self.site} · {self.broker_host}:{self.broker_port}"

    @property
    def has_password(self) -> bool:
        return bool(self.password_encrypted)

    def set_password(self, plain: str) -> None:
        self.password_encrypted = encrypt(plain)

    def read_password(self) -> str:
        """Return the broker password; raises `SecretUnreadableError`."""
        return decrypt(self.password_encrypted, what="broker password")

    def set_tls_client_key(self, plain: str) -> None:
        self.tls_client_key_encrypted = encrypt(plain)

    def read_tls_client_key(self) -> str:
        """Return the client's private key (PEM); raises `SecretUnreadableError`."""
        return decrypt(self.tls_client_key_encrypted, what="TLS client key")


class MqttTopic(models.Model):
    """One filter of a connection, relative to the site's code."""

    connection = models.ForeignKey(
        MqttConnection, models.CASCADE, related_name="topics"
    )
    pattern = models.CharField(
        _("pattern"), max_length=256, validators=[validate_pattern]
    )
    qos = models.PositiveSmallIntegerField(
        _("QoS"), default=1, choices=[(0, "0"), (1, "1")]
    )
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("topic")
        verbose_name_plural = _("topics")
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["connection", "pattern"], name="one_row_per_pattern"
            )
        ]

    def __str__(self) -> str:
        return self.pattern

    def get_full_topic(self) -> str:
        return f"{self.connection.site.code}/{self.pattern}"


class ConnectionEvent(models.Model):
    """A change of a connection's status: audit trail and timeline at once."""

    connection = models.ForeignKey(
        MqttConnection, models.CASCADE, related_name="events"
    )
    at = models.DateTimeField(default=timezone.now)
    old_status = models.CharField(max_length=16, choices=Status.choices)
    new_status = models.CharField(max_length=16, choices=Status.choices)
    reason = models.CharField(max_length=32, choices=Reason.choices, blank=True)
    detail = models.TextField(blank=True)

    class Meta:
        verbose_name = _("connection event")
        verbose_name_plural = _("connection events")
        ordering: ClassVar = ["-at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["connection", "-at"], name="event_timeline")
        ]

    def __str__(self) -> str:
        return f"{self.old_status} → {self.new_status}"
