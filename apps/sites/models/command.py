"""What is published for a person, and what became of it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.sites.models.site import Site


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
