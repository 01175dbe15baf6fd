"""manage.py generate_history: a year of plausible readings, with their rollups."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from apps.sites.models import Site
from apps.sites.services import site_create
from apps.telemetry import invention, partitions, rollup_days, rollups
from apps.telemetry.progress import Bar


class Command(BaseCommand):
    help = (
        "Invent readings for a site (made if it is not there): days before today, "
        "each with its rollups. Ctrl-C ends it after the day in hand; running it "
        "again adds what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--site", required=True, help="the site's code")
        parser.add_argument("--dataloggers", type=int, default=5)
        parser.add_argument("--sensors", type=int, default=50, help="in all")
        parser.add_argument("--days", type=int, default=365)
        parser.add_argument("--interval", type=int, default=60, help="seconds")

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        for name, most in (
            ("dataloggers", 1_000),
            ("sensors", 10_000),
            ("days", 3_650),
            ("interval", 86_400),
        ):
            if not 1 <= options[name] <= most:
                message = f"--{name} {options[name]}: use a number from 1 to {most}"
                raise CommandError(message)
        site = Site.objects.filter(code=options["site"]).first()
        if site is None:
            site = site_create(name=options["site"], code=options["site"])
        sensors = invention.devices(
            site, dataloggers=options["dataloggers"], sensors=options["sensors"]
        )
        try:
            self._fill(sensors, options["days"], options["interval"])
        except KeyboardInterrupt:
            self._roll_days(sensors)
            message = "stopped; the days that are there are whole"
            raise CommandError(message, returncode=130) from None
        self._roll_days(sensors)
        _analyze()

    def _fill(
        self, sensors: list[tuple[int, invention.Kind]], days: int, interval_s: int
    ) -> None:
        today = partitions.today()
        bar = Bar(self.stdout, "readings", days)  # type: ignore[arg-type]
        stored = 0
        for place in range(days):
            day = today - timedelta(days=days - place)
            stored += invention.invent_day(day, sensors, interval_s)
            bar.show(place + 1, f"{day} {stored:,} readings")

    def _roll_days(self, sensors: list[tuple[int, invention.Kind]]) -> None:
        ids = [sensor_id for sensor_id, _ in sensors]
        bar = Bar(self.stdout, "days    ", len(ids))  # type: ignore[arg-type]
        for place in range(0, len(ids), rollup_days.AT_ONCE):
            rollups.rebuild_days(ids[place : place + rollup_days.AT_ONCE])
            bar.show(min(place + rollup_days.AT_ONCE, len(ids)))


def _analyze() -> None:
    """Let the planner know how much there is now."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(
            "ANALYZE telemetry_reading, telemetry_rollup_1m, telemetry_rollup_1h, "
            "telemetry_rollup_1d"
        )
        cursor.execute("RESET statement_timeout")
