"""Sites, their broker connections, and who owns which shard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    RegexValidator,
)
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.crypto import decrypt, encrypt
from apps.sites.patterns import problem_with_pattern

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

# A code is the first level of the site's topics, so it is one plain level.
validate_code = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z",
    _(
        "Use letters, digits, '_', '-' and '.', at most 64; "
        "start with a letter or digit"
    ),
)


def validate_timezone(value: str) -> None:
    if value not in available_timezones():
        message = _("'%(value)s' is not a time zone; use a name such as Europe/Rome")
        raise ValidationError(message, params={"value": value})


def validate_pattern(value: str) -> None:
    problem = problem_with_pattern(value)
    if problem:
        raise ValidationError(str(problem))


class Visibility(models.TextChoices):
    ALL_USERS = "all_users", _("All users")
    MEMBERS = "members", _("Members only")


class SiteQuerySet(models.QuerySet["Site"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> SiteQuerySet:
        """Keep the sites that this user may read; for others a site is not there."""
        if not user.is_authenticated:
            return self.none()
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(
            Q(visibility=Visibility.ALL_USERS)
            | Q(pk__in=SiteMember.objects.filter(user_id=user.pk).values("site"))
        )


class Site(models.Model):
    """A place with devices and its own broker connection."""

    name = models.CharField(_("name"), max_length=200)
    code = models.CharField(
        _("code"), max_length=64, unique=True, blank=True, validators=[validate_code]
    )
    timezone = models.CharField(
        _("time zone"), max_length=64, default="UTC", validators=[validate_timezone]
    )
    latitude = models.FloatField(
        _("latitude"),
        null=True,
        blank=True,
        validators=[MinValueValidator(-90), MaxValueValidator(90)],
    )
    longitude = models.FloatField(
        _("longitude"),
        null=True,
        blank=True,
        validators=[MinValueValidator(-180), MaxValueValidator(180)],
    )
    visibility = models.CharField(
        _("visibility"),
        max_length=16,
        choices=Visibility.choices,
        default=Visibility.ALL_USERS,
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        verbose_name = _("site")
        verbose_name_plural = _("sites")
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Django's own)
        """Store the site; without a code it gets `site_%03d` of its id."""
        if self.code:
            super().save(*args, **kwargs)
            return
        with transaction.atomic():
            self.code = uuid4().hex  # unique until the id is known
            super().save(*args, **kwargs)
            self.code = f"site_{self.pk:03d}"
            if Site.objects.filter(code=self.code).exists():
                self.code = f"{self.code}_{uuid4().hex[:6]}"
            super().save(update_fields=["code"])


class MemberRole(models.TextChoices):
    VIEWER = "viewer", _("Viewer")
    OPERATOR = "operator", _("Operator: may start and stop")


class SiteMember(models.Model):
    """A user who may read a members-only site; an operator may also control it."""

    site = models.ForeignKey(Site, models.CASCADE, related_name="members")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="site_memberships"
    )
    role = models.CharField(
        max_length=16, choices=MemberRole.choices, default=MemberRole.VIEWER
    )

    class Meta:
        verbose_name = _("site member")
        verbose_name_plural = _("site members")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["site", "user"], name="one_role_per_site")
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.site} · {self.role}"


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


class ConnectionStats(models.Model):
    """What came in over a connection: one row, written in the batch's transaction.

    received = stored + duplicate + quarantined + dropped; what is in flight comes on
    top, and the worker alone knows it. `recent` are the last entries of what was
    delivered, until they become a row of `Delivered`.
    """

    connection = models.OneToOneField(
        MqttConnection, models.CASCADE, primary_key=True, related_name="stats"
    )
    received = models.PositiveBigIntegerField(default=0)
    stored = models.PositiveBigIntegerField(default=0)
    duplicate = models.PositiveBigIntegerField(default=0)
    quarantined = models.PositiveBigIntegerField(default=0)
    dropped = models.PositiveBigIntegerField(default=0)
    last_message_at = models.DateTimeField(null=True)
    recent = models.BinaryField(default=bytes, db_default=b"")
    topics_dropped = models.PositiveBigIntegerField(
        db_default=0, help_text=_("Discovered topics that had to make room.")
    )

    class Meta:
        verbose_name = _("connection statistics")
        verbose_name_plural = _("connection statistics")

    def __str__(self) -> str:
        return f"statistics of connection {self.connection_id}"


class Delivered(models.Model):
    """What a connection delivered lately, so that a redelivery is recognised.

    Written and read by `apps.sites.deliveries` alone, in plain SQL.
    """

    connection = models.ForeignKey(
        MqttConnection, models.CASCADE, related_name="delivered"
    )
    newest_us = models.BigIntegerField(help_text=_("Received, µs since 1970."))
    entries = models.BinaryField()
    is_redelivery = models.BooleanField(
        db_default=False,
        help_text=_("Of what came with DUP and was stored; remembered for longer."),
    )

    class Meta:
        verbose_name = _("remembered deliveries")
        verbose_name_plural = _("remembered deliveries")

    def __str__(self) -> str:
        return f"deliveries of connection {self.connection_id}"


class GapCause(models.TextChoices):
    """Why messages may be missing."""

    SESSION_LOST = "session_lost", _("the broker no longer had our session")
    CLEAN_SESSION = "clean_session", _("live only: nothing was kept for us")
    QUEUE_OVERFLOW = "queue_overflow", _("more may have come than the broker keeps")
    QOS_0 = "qos_0", _("QoS 0: nothing was kept for us")


class SuspectedGap(models.Model):
    """A time in which a connection may have missed messages."""

    connection = models.ForeignKey(MqttConnection, models.CASCADE, related_name="gaps")
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    cause = models.CharField(max_length=32, choices=GapCause.choices)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name = _("suspected gap")
        verbose_name_plural = _("suspected gaps")
        ordering: ClassVar = ["-ended_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["connection", "ended_at"], name="one_gap_per_return"
            )
        ]

    def __str__(self) -> str:
        return f"{self.began_at:%Y-%m-%d %H:%M:%S} · {self.cause}"


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


class CommandState(models.TextChoices):
    """Where a message of ours is on its way to a device."""

    QUEUED = "queued", _("waiting for the worker")
    SENT = "sent", _("sent to the broker")
    DELIVERED = "delivered", _("the broker has it")
    ANSWERED = "answered", _("the device has answered")
    FAILED = "failed", _("not delivered")
    EXPIRED = "expired", _("not sent in time")
    NO_PUBACK = "no_puback", _("the broker did not confirm it")
    NO_REPLY = "no_reply", _("the device did not answer in time")


class CommandReason(models.TextChoices):
    """Why a command was not delivered; empty when there is nothing to explain."""

    NONE = "", ""
    NOT_CONNECTED = "not_connected", _("the connection was down")
    NO_WORKER = "no_worker", _("no worker took it in time")
    BUSY = "busy", _("too many messages wait for the broker")
    REFUSED = "refused", _("the broker refused it")
    NO_PUBACK = "no_puback", _("no confirmation came")


class Command(models.Model):
    """A message published for a person: the ledger of who sent what, and the result.

    The payload is kept only until it is sent, its SHA-256 for good. Each change of
    state is a conditional UPDATE from the state before, so that an expired command is
    never sent late.
    """

    site = models.ForeignKey(Site, models.CASCADE, related_name="commands")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    username = models.CharField(
        max_length=150, help_text=_("Also when the user is gone.")
    )
    created_at = models.DateTimeField(default=timezone.now)
    topic = models.TextField()
    payload = models.BinaryField(null=True)
    payload_size = models.PositiveIntegerField()
    payload_sha256 = models.CharField(max_length=64)
    qos = models.PositiveSmallIntegerField(default=1)
    retain = models.BooleanField(default=False)
    idempotency_key = models.CharField(max_length=255, null=True)  # noqa: DJ001 (NULL: none)
    request_sha256 = models.CharField(max_length=64, blank=True)
    state = models.CharField(
        max_length=16, choices=CommandState.choices, default=CommandState.QUEUED
    )
    reason = models.CharField(
        max_length=32,
        choices=CommandReason.choices,
        default=CommandReason.NONE,
        blank=True,
    )
    detail = models.CharField(max_length=300, blank=True)
    expires_at = models.DateTimeField(help_text=_("Not sent after this."))
    sent_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True, help_text=_("When PUBACK came."))
    reply_topic = models.TextField(blank=True)
    reply_until = models.DateTimeField(null=True)
    reply = models.TextField(null=True)  # noqa: DJ001 (NULL: none came)
    replied_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("command")
        verbose_name_plural = _("commands")
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["site", "user", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="one_command_per_key",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["site", "-created_at"], name="command_ledger"),
            models.Index(
                fields=["site", "reply_until"],
                condition=Q(reply_until__isnull=False, replied_at__isnull=True),
                name="command_awaits_reply",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic} · {self.state}"

    @property
    def puback_ms(self) -> float | None:
        """How long the broker took to confirm it."""
        if self.sent_at is None or self.delivered_at is None:
            return None
        return round((self.delivered_at - self.sent_at).total_seconds() * 1e3, 3)


class ShardLease(models.Model):
    """Who owns a shard; `epoch` grows with each owner and voids the old one's writes.

    All times are the database's clock: a worker whose clock jumps keeps its lease.
    """

    shard = models.PositiveIntegerField(primary_key=True)
    owner = models.CharField(max_length=255, blank=True)
    epoch = models.PositiveBigIntegerField(default=0)
    expires_at = models.DateTimeField()
    acquired_at = models.DateTimeField()

    class Meta:
        verbose_name = _("shard lease")
        verbose_name_plural = _("shard leases")
        ordering: ClassVar = ["shard"]

    def __str__(self) -> str:
        return f"shard {self.shard}: {self.owner or 'nobody'} (epoch {self.epoch})"
