"""What this app throws away: alerts that ended long ago, with their deliveries."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from apps.alerts.models import Alert
from apps.core.chores import Chore

if TYPE_CHECKING:
    from django.db.models import QuerySet

KEEP = timedelta(days=400)
SLICE = 1_000


def _old(now: datetime) -> QuerySet[Alert]:
    return Alert.objects.filter(closed_at__lt=now - KEEP)


def prune() -> int:
    total = 0
    while ids := list(_old(timezone.now()).values_list("pk", flat=True)[:SLICE]):
        Alert.objects.filter(pk__in=ids).delete()
        total += len(ids)
    return total


CHORES = [Chore("alerts", do=prune, would=lambda: _old(timezone.now()).count())]
