"""What this app throws away: readings, rollups and quarantine past their time."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import connection

from apps.core.chores import Chore
from apps.telemetry import partitions, quarantine, retention, rollups
from apps.telemetry.partitions import READINGS, Partitioned
from apps.telemetry.rollup_tables import DAYS, HOURS, MINUTES


def _expired_rollups() -> int:
    today = partitions.today()
    minutes = today - timedelta(days=settings.ROLLUP_1M_RETENTION_DAYS)
    others = today - timedelta(days=settings.ROLLUP_RETENTION_DAYS)
    return sum(
        table.next_of(day) <= oldest
        for table, oldest in ((MINUTES, minutes), (HOURS, others), (DAYS, others))
        for day in table.existing()
    )


def _expired_days() -> int:
    oldest, _ = partitions.window(partitions.today())
    readings: Partitioned = READINGS
    return sum(readings.next_of(day) <= oldest for day in readings.existing())


def _old_quarantine() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT received_at, replayed_at, row_number() OVER ("
            "PARTITION BY site_id ORDER BY received_at DESC, id DESC) AS place "
            "FROM telemetry_quarantinedmessage) AS ranked WHERE place > %s "
            "OR received_at < now() - make_interval(days => %s) "
            "OR replayed_at < now() - make_interval(days => %s)",
            [
                quarantine.KEEP_PER_SITE,
                quarantine.KEEP_DAYS,
                quarantine.KEEP_REPLAYED_DAYS,
            ],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


CHORES = [
    Chore(
        "days of readings",
        do=lambda: len(retention.drop_readings()),
        would=_expired_days,
    ),
    Chore(
        "partitions of rollups",
        do=lambda: len(rollups.drop_expired()),
        would=_expired_rollups,
    ),
    Chore("quarantined messages", do=quarantine.prune, would=_old_quarantine),
]
