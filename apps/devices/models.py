"""The physical chain of a site: gateways, dataloggers, sensors, and their presence."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.sites.models import Site

DEFAULT_INTERVAL_S = 60  # the promise of a device that made none (CONTRACT §6)
OFFLINE_FACTOR = 1.5  # silence of 1.5 promised intervals is offline, as in ChirpStack
MAX_OFFLINE_AFTER_S = 62 * 86_400
MAX_VERSION = 255  # of a protocol


class Presence(models.TextChoices):
    ONLINE = "online", _("online")
    OFFLINE = "offline", _("offline")
    UNKNOWN = "unknown", _("unknown")


class OfflineCause(models.TextChoices):
    """How we know that a device is offline."""

    NONE = "", ""
    SILENCE = "silence", _("silent for longer than it promised")
    WILL = "will", _("it said goodbye, or its broker did for it")
    GATEWAY = "gateway", _("its gateway is offline")


class PresenceFields(models.Model):
    """What is known about a device being there.

    `offline_after` is a stored deadline, moved by every live message; the check that
    runs every 30 s only asks for rows whose deadline has passed.
    """

    presence = models.CharField(
        _("presence"), max_length=8, choices=Presence.choices, default=Presence.UNKNOWN
    )
    presence_since = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(_("last seen"), null=True, blank=True)
    interval_s = models.PositiveIntegerField(
        _("promised interval (s)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(31 * 86_400)],
    )
    offline_after = models.DateTimeField(null=True, blank=True)
    offline_after_s = models.PositiveIntegerField(
        _("offline after (s)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_OFFLINE_AFTER_S)],
        help_text=_("Seconds of silence. Empty: 1.5 times the promised interval."),
    )
    offline_cause = models.CharField(
        _("cause"),
        max_length=8,
        choices=OfflineCause.choices,
        blank=True,
        db_default="",
    )
    label = models.CharField(_("label"), max_length=200, blank=True)
    serial_number = models.CharField(_("serial number"), max_length=100, blank=True)
    firmware_version = models.CharField(_("firmware"), max_length=100, blank=True)
    uptime_s = models.PositiveBigIntegerField(null=True, blank=True)
    rssi = models.FloatField(null=True, blank=True)
    battery = models.FloatField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True

    @property
    def is_online(self) -> bool:
        return self.presence == Presence.ONLINE

    @property
    def silence_s(self) -> float:
        """Return the seconds of silence after which this device is offline."""
        if self.offline_after_s is not None:
            return self.offline_after_s
        return OFFLINE_FACTOR * (self.interval_s or DEFAULT_INTERVAL_S)


class Gateway(PresenceFields):
    """A device that carries dataloggers' messages; known by site and number."""

    site = models.ForeignKey(Site, models.CASCADE, related_name="gateways")
    number = models.CharField(_("number"), max_length=128)

    class Meta:
        verbose_name = _("gateway")
        verbose_name_plural = _("gateways")
        ordering: ClassVar = ["site_id", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["site", "number"], name="one_gateway")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["offline_after"],
                condition=~Q(presence="offline"),
                name="gateway_deadline",
            )
        ]

    def __str__(self) -> str:
        return self.label or f"gateway {self.number}"


class Datalogger(PresenceFields):
    """A device with sensors; known by site, type and number, in both topic forms."""

    site = models.ForeignKey(Site, models.CASCADE, related_name="dataloggers")
    gateway = models.ForeignKey(
        Gateway, models.SET_NULL, null=True, blank=True, related_name="dataloggers"
    )
    type = models.CharField(_("type"), max_length=128)
    number = models.CharField(_("number"), max_length=128)
    protocol_version = models.PositiveSmallIntegerField(
        _("protocol version"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_VERSION)],
        help_text=_("Empty: the payload says, or 1."),
    )

    class Meta:
        verbose_name = _("datalogger")
        verbose_name_plural = _("dataloggers")
        ordering: ClassVar = ["site_id", "type", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["site", "type", "number"], name="one_datalogger"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["offline_after"],
                condition=~Q(presence="offline"),
                name="datalogger_deadline",
            ),
            models.Index(
                fields=["protocol_version"],
                condition=Q(protocol_version__isnull=False),
                name="pinned_dataloggers",
            ),
        ]

    def __str__(self) -> str:
        return self.label or f"{self.type} {self.number}"


class SensorDevice(models.Model):
    """One measured quantity of a datalogger, with its current value.

    The current value never goes back in time: it is replaced only by a reading whose
    `measured_at` is not older. Its row is written by every batch, so nothing that
    changes with a reading is indexed (heap-only updates; fillfactor 70).
    """

    datalogger = models.ForeignKey(Datalogger, models.CASCADE, related_name="sensors")
    key = models.CharField(_("key"), max_length=128)
    label = models.CharField(_("label"), max_length=200, blank=True)
    sensor_type = models.CharField(_("type"), max_length=64, blank=True)
    unit_of_measure = models.CharField(_("unit"), max_length=32, blank=True)
    current_value = models.FloatField(null=True, blank=True)
    current_text = models.TextField(null=True, blank=True)  # noqa: DJ001 (NULL: a number)
    current_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("sensor")
        verbose_name_plural = _("sensors")
        ordering: ClassVar = ["datalogger_id", "key"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["datalogger", "key"], name="one_sensor")
        ]

    def __str__(self) -> str:
        return self.label or self.key


class PresencePeriod(models.Model):
    """A stretch of time in which a datalogger's presence did not change.

    The open period has no end. Written with the change itself, in one transaction;
    uptime counts online and offline time and leaves unknown time out.
    """

    datalogger = models.ForeignKey(Datalogger, models.CASCADE, related_name="periods")
    presence = models.CharField(max_length=8, choices=Presence.choices)
    cause = models.CharField(
        max_length=8, choices=OfflineCause.choices, blank=True, db_default=""
    )
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("presence period")
        verbose_name_plural = _("presence periods")
        ordering: ClassVar = ["-started_at"]
        indexes: ClassVar = [
            models.Index(fields=["datalogger", "-started_at"], name="presence_history"),
            models.Index(fields=["datalogger", "ended_at"], name="presence_ended"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["datalogger"],
                condition=Q(ended_at=None),
                name="one_open_period",
            )
        ]

    def __str__(self) -> str:
        return f"{self.presence} since {self.started_at:%Y-%m-%d %H:%M}"


class TopicState(models.TextChoices):
    NEW = "new", _("new")
    ACCEPTED = "accepted", _("accepted")
    IGNORED = "ignored", _("ignored")


class ContentType(models.TextChoices):
    """What a payload looks like; a guess from its bytes."""

    EMPTY = "empty", _("empty")
    JSON = "json", "JSON"
    NUMBER = "number", _("number")
    TEXT = "text", _("text")
    BINARY = "binary", _("binary")


class DiscoveredTopic(models.Model):
    """A topic seen on the wire that no decoder claims; at most 5,000 a site are kept.

    `digest` stands for the topic in the index: a topic may have 65,535 bytes, an index
    row 2,704. `paths` is a list of {"path": "$.a.b", "type": "number"} of the last
    payload, if that was JSON.
    """

    site = models.ForeignKey(Site, models.CASCADE, related_name="discovered_topics")
    topic = models.TextField()
    digest = models.UUIDField(editable=False)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    message_count = models.PositiveBigIntegerField(default=0)
    rate_per_minute = models.FloatField(null=True)
    last_payload = models.BinaryField(help_text=_("The first 4 KiB."))
    payload_size = models.PositiveIntegerField(default=0)
    content_type = models.CharField(
        max_length=8, choices=ContentType.choices, default=ContentType.BINARY
    )
    paths = models.JSONField(default=list)
    qos = models.PositiveSmallIntegerField(default=0)
    retain = models.BooleanField(default=False)
    state = models.CharField(
        _("state"),
        max_length=8,
        choices=TopicState.choices,
        default=TopicState.NEW,
    )
    has_own_filter = models.BooleanField(
        db_default=False, help_text=_("Accepting it gave the connection a filter.")
    )

    class Meta:
        verbose_name = _("discovered topic")
        verbose_name_plural = _("discovered topics")
        ordering: ClassVar = ["-last_seen", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["site", "digest"], name="one_discovered_topic"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["site", "-last_seen"], name="topics_by_age")
        ]

    def __str__(self) -> str:
        return self.topic[:200]


class SessionState(models.TextChoices):
    WAITING = "waiting", _("waiting for the worker")
    RUNNING = "running", _("listening")
    FINISHED = "finished", _("finished")
    FAILED = "failed", _("failed")


class DiscoverySession(models.Model):
    """A bounded while of listening to everything under a site's code."""

    site = models.ForeignKey(Site, models.CASCADE, related_name="discovery_sessions")
    username = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)
    duration_s = models.PositiveIntegerField()
    filters = models.JSONField(
        default=list, help_text=_("Extra filters beside the site's own tree.")
    )
    state = models.CharField(
        max_length=8, choices=SessionState.choices, default=SessionState.WAITING
    )
    taken_at = models.DateTimeField(null=True)  # by a worker, which then connects
    started_at = models.DateTimeField(null=True)  # the broker has answered
    ended_at = models.DateTimeField(null=True)
    messages = models.PositiveBigIntegerField(default=0)
    topics = models.PositiveIntegerField(default=0)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name = _("discovery session")
        verbose_name_plural = _("discovery sessions")
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["site"],
                condition=Q(state__in=["waiting", "running"]),
                name="one_session_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"{self.site} · {self.created_at:%Y-%m-%d %H:%M}"
