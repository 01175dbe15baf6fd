"""manage.py import_history: readings from a CSV file of any size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from apps.devices.models import Datalogger
from apps.telemetry import rollups
from apps.telemetry.csv_import import (
    Imported,
    Importer,
    ImportRefusedError,
    Sample,
    open_lines,
    read_samples,
)
from apps.telemetry.progress import Bar


class Command(BaseCommand):
    help = (
        "Store the readings of a CSV file: columns at,key,value, or at and a column a "
        "sensor key. The whole file is checked before anything is stored. Stored "
        "5,000 at a time: after Ctrl-C run it again, what is there is a duplicate."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--datalogger", type=int, required=True, help="its id")
        parser.add_argument(
            "--dry-run", action="store_true", help="check the file, store nothing"
        )

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        datalogger = (
            Datalogger.objects.select_related("site")
            .filter(pk=options["datalogger"])
            .first()
        )
        if datalogger is None:
            message = f"There is no datalogger {options['datalogger']}"
            raise CommandError(message)
        try:
            with options["file"].open("rb") as file:
                self._import(file, datalogger, is_dry=options["dry_run"])
        except OSError as error:
            message = f"{options['file']}: {error.strerror}"
            raise CommandError(message) from error
        except ImportRefusedError as error:
            told = [f"{line}: {text}" for line, [text] in error.fields.items()]
            raise CommandError("\n".join([*told, "nothing was stored"])) from error
        except KeyboardInterrupt:
            message = "stopped; run it again to go on"
            raise CommandError(message, returncode=130) from None

    def _import(self, file: IO[bytes], datalogger: Datalogger, *, is_dry: bool) -> None:
        zone = datalogger.site.timezone
        importer = Importer(datalogger)
        count = importer.check(self._chunks(file, zone, "checking"))
        if is_dry:
            self.stdout.write(f"{count:,} values, all fine; nothing was stored")
            return
        for samples in self._chunks(file, zone, "storing "):
            with transaction.atomic():
                importer.store(samples)
            rollups.run(limit_s=5)
        while rollups.run().minutes:
            pass
        self.stdout.write(_summary(importer.result))

    def _chunks(self, file: IO[bytes], zone: str, label: str) -> Iterator[list[Sample]]:
        size = file.seek(0, 2)
        file.seek(0)
        bar = Bar(self.stdout, label, size)  # type: ignore[arg-type]
        lines = open_lines(file)
        for samples in read_samples(lines, zone):
            bar.show(min(file.tell(), size - 1))
            yield samples
        bar.show(size)
        lines.detach()


def _summary(result: Imported) -> str:
    return (
        f"{result.rows:,} values: {result.stored:,} stored, "
        f"{result.duplicates:,} there before; {result.sensors_created} new sensors"
    )
