"""The quarantine keeps the newest of each site, however many came."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.sites.models import Site
from apps.telemetry import quarantine
from apps.telemetry.models import QuarantinedMessage, QuarantineReason

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "KEEP_PER_SITE", 10)
    monkeypatch.setattr(quarantine, "SLICE", 4)


def arrive(site: Site, count: int, *, apart: timedelta) -> list[int]:
    """Return the ids, oldest first."""
    now = timezone.now()
    rows = [
        QuarantinedMessage(
            site=site,
            received_at=now - apart * (count - n),
            topic="t",
            payload=b"?",
            payload_size=1,
            qos=0,
            retain=False,
            reason=QuarantineReason.JSON_INVALID,
        )
        for n in range(count)
    ]
    return [row.pk for row in QuarantinedMessage.objects.bulk_create(rows)]


def kept(site: Site) -> list[int]:
    rows = QuarantinedMessage.objects.filter(site=site)
    return list(rows.order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("apart", [timedelta(seconds=1), timedelta(0)])
@pytest.mark.parametrize("count", [9, 10, 11, 13, 14, 15, 27])
def test_the_newest_of_each_site_stay(north, hidden, count, apart):
    ids = arrive(north, count, apart=apart)
    others = arrive(hidden, 10, apart=apart)

    assert quarantine.prune() == max(0, count - 10)

    assert kept(north) == ids[-10:]
    assert kept(hidden) == others


def test_a_site_with_too_many_old_ones_loses_both(north):
    ids = arrive(north, 27, apart=timedelta(hours=25))

    assert quarantine.prune() == 21  # 17 too many, 4 more too old

    assert kept(north) == ids[-6:]
