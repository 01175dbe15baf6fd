"""manage.py prune: what housekeeping does every hour, now, with counts."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from apps.core.chores import all_chores
from apps.telemetry import partitions


class Command(BaseCommand):
    help = "Throw away what is past its retention, as housekeeping does every hour."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="count only, delete nothing"
        )

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 0")  # a first run may take long
            self._prune(is_dry=options["dry_run"])
        except DatabaseError as error:
            raise CommandError(_first_line(error)) from error

    def _prune(self, *, is_dry: bool) -> None:
        if not is_dry:
            made = len(partitions.ensure_ahead())
            self._say("days of readings made ready", made)
        for chore in all_chores():
            count = chore.would() if is_dry else chore.do()
            verb = "would be deleted" if is_dry else "deleted"
            self._say(f"{chore.name} {verb}", count)

    def _say(self, what: str, count: int) -> None:
        self.stdout.write(f"{count:>9,}  {what}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
