"""manage.py roll_up: computes what is due now, or all rollups anew."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from apps.telemetry import rollup_days, rollups
from apps.telemetry.partitions import READINGS, midnight
from apps.telemetry.progress import Bar


class Command(BaseCommand):
    help = (
        "Roll up the readings that wait for it. Beat does so every 15 seconds; with "
        "--all every reading that is still there is looked at, for instance after "
        "readings were copied into the table by other means."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true")

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        if options["all"]:
            self._all()
        minutes = 0
        while done := (progress := rollups.run()).minutes:
            minutes += done
        late = f", {progress.lag_s:.0f} s behind" if progress.lag_s else ""
        self.stdout.write(f"{minutes:,} minutes rolled up{late}")

    def _all(self) -> None:
        days = sorted(READINGS.existing())
        bar = Bar(self.stdout, "readings", len(days))  # type: ignore[arg-type]
        for place, day in enumerate(days):
            rollups.fill(midnight(day), midnight(day + timedelta(days=1)))
            bar.show(place + 1, str(day))
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM devices_sensordevice ORDER BY id")
            ids = [row[0] for row in cursor.fetchall()]
        bar = Bar(self.stdout, "days    ", len(ids))  # type: ignore[arg-type]
        for place in range(0, len(ids), rollup_days.AT_ONCE):
            rollups.rebuild_days(ids[place : place + rollup_days.AT_ONCE])
            bar.show(min(place + rollup_days.AT_ONCE, len(ids)))
