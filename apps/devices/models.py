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


class Presence(models.TextChoices):
    ONLINE = "online", _("online")
    OFFLINE = "offline", _("offline")
    UNKNOWN = "unknown", _("unknown")


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
            )
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
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("presence period")
        verbose_name_plural = _("presence periods")
        ordering: ClassVar = ["-started_at"]
        indexes: ClassVar = [
            models.Index(fields=["datalogger", "-started_at"], name="presence_history")
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
