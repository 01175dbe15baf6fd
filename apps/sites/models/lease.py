"""Who owns which shard of the connections."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


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
