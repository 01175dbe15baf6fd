"""What this app throws away: presence periods that no report looks at any more."""

from __future__ import annotations

from django.utils import timezone

from apps.core.chores import Chore
from apps.devices.models import PresencePeriod
from apps.devices.services import KEEP_PERIODS, prune_periods


def _old_periods() -> int:
    return PresencePeriod.objects.filter(
        ended_at__lt=timezone.now() - KEEP_PERIODS
    ).count()


CHORES = [Chore("presence periods", do=prune_periods, would=_old_periods)]
