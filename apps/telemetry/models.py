"""Readings, and the messages that could not become readings."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.texts import readable
from apps.devices.models import SensorDevice
from apps.sites.models import Site


class ReadingFlag(models.IntegerChoices):
    NONE = 0
    RECEIPT_TIME = 1, _("the device's time was missing or impossible")


class Reading(models.Model):
    """One value of a sensor at `measured_at` (device clock), received at `received_at`.

    The table is partitioned by day of `measured_at` and made in plain SQL
    (migration 0001; `apps.telemetry.partitions`). Its key is sensor, time and value:
    a repeat is stored once, two different values at one time are both kept. There is
    no foreign key in the database, for speed; readings of a deleted sensor are out of
    reach and leave with their partition.
    """

    pk = models.CompositePrimaryKey("sensor", "measured_at")
    sensor = models.ForeignKey(
        SensorDevice, models.DO_NOTHING, db_constraint=False, related_name="readings"
    )
    measured_at = models.DateTimeField()
    received_at = models.DateTimeField()
    value = models.FloatField(null=True)
    text = models.TextField(null=True)  # noqa: DJ001 (NULL: the reading is a number)
    flags = models.SmallIntegerField(default=ReadingFlag.NONE)

    class Meta:
        managed = False
        db_table = "telemetry_reading"
        verbose_name = _("reading")
        verbose_name_plural = _("readings")

    def __str__(self) -> str:
        return f"{self.sensor_id} @ {self.measured_at:%Y-%m-%d %H:%M:%S}"


class QuarantineReason(models.TextChoices):
    TOPIC_INVALID = "topic_invalid", _("the topic is not text")
    JSON_INVALID = "json_invalid", _("the payload is not JSON")
    SCHEMA_MISMATCH = "schema_mismatch", _("the payload has an unexpected shape")
    VALUE_INVALID = "value_invalid", _("a value cannot be stored")
    UNKNOWN_VERSION = "unknown_version", _("unknown protocol version")
    TOO_LARGE = "too_large", _("the payload is too large")
    DATA_ERROR = "data_error", _("the database refused the message")


class QuarantinedMessage(models.Model):
    """A message that could not be understood, kept with the reason."""

    site = models.ForeignKey(Site, models.CASCADE, related_name="quarantine")
    received_at = models.DateTimeField(default=timezone.now)
    topic = models.TextField(help_text=_("Bytes that are not UTF-8 are escaped."))
    payload = models.BinaryField(help_text=_("The first 64 KiB."))
    payload_size = models.PositiveIntegerField()
    qos = models.PositiveSmallIntegerField()
    retain = models.BooleanField()
    reason = models.CharField(max_length=32, choices=QuarantineReason.choices)
    detail = models.CharField(max_length=300, blank=True)
    replayed_at = models.DateTimeField(
        null=True, help_text=_("When it was understood after all.")
    )

    class Meta:
        verbose_name = _("quarantined message")
        verbose_name_plural = _("quarantine")
        ordering: ClassVar = ["-received_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["site", "-received_at"], name="quarantine_by_site")
        ]

    def __str__(self) -> str:
        return f"{readable(self.topic[:80])}: {self.reason}"


class TopicMapping(models.Model):
    """How messages that no decoder understands become readings of a datalogger.

    It is for one topic (`topic`; its datalogger is named here, or by the topic itself),
    or for a payload version of native data topics (`version`; the topic names the
    datalogger). `values` is a list of {"path", "key", "label", "type", "unit",
    "scale", "offset"}: the reading is what lies at `path`, times scale, plus offset.
    `ts_path` is where the time lies; empty: the time of receipt.
    """

    site = models.ForeignKey(Site, models.CASCADE, related_name="mappings")
    topic = models.TextField(blank=True)
    digest = models.UUIDField(null=True, editable=False)
    version = models.PositiveIntegerField(null=True, blank=True)
    datalogger_type = models.CharField(max_length=128, blank=True)
    datalogger_number = models.CharField(max_length=128, blank=True)
    ts_path = models.CharField(max_length=500, blank=True)
    values = models.JSONField(default=list)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("topic mapping")
        verbose_name_plural = _("topic mappings")
        ordering: ClassVar = ["site_id", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["site", "digest"],
                condition=models.Q(digest__isnull=False),
                name="one_mapping_per_topic",
            ),
            models.UniqueConstraint(
                fields=["site", "version"],
                condition=models.Q(version__isnull=False),
                name="one_mapping_per_version",
            ),
            models.CheckConstraint(
                condition=models.Q(digest__isnull=False, version__isnull=True)
                | models.Q(digest__isnull=True, version__isnull=False),
                name="mapping_for_topic_or_version",
            ),
        ]

    def __str__(self) -> str:
        return readable(self.topic[:200]) or f"version {self.version}"


class SpoolMark(models.Model):
    """How far a worker's spool (a file on its host) is in this database.

    Written in the transaction of the batch itself, so that after any crash, and after a
    COMMIT whose answer got lost, both sides agree on what is stored.
    """

    id = models.UUIDField(primary_key=True)  # the file's own
    node = models.TextField()
    live = models.BigIntegerField(default=0, db_default=0)  # last batch stored directly
    drained = models.BigIntegerField(default=0, db_default=0)  # last row of the file
    waiting = models.BigIntegerField(default=0, db_default=0)  # rows left in it then
    seen_at = models.DateTimeField(default=timezone.now, db_default=Now())

    class Meta:
        verbose_name = _("spool")
        verbose_name_plural = _("spools")

    def __str__(self) -> str:
        return f"{self.node} {self.id}"
