"""The books of a connection: what came in, what came twice, what may be missing."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.sites.models.connection import MqttConnection


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
