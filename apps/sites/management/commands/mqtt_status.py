"""manage.py mqtt_status: an operator's first look, and a monitor's exit code."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from django.utils import timezone

from apps.sites.models import Site
from apps.sites.overview import UNKNOWN, overview
from apps.sites.tables import lines

EXIT_CODES = (
    "Exit code 0: healthy. 1: an enabled connection is not connected, or a shard has "
    "no worker. 2: cannot tell, the database does not answer."
)


class Command(BaseCommand):
    help = f"Show connections, workers and leases as they are now. {EXIT_CODES}"
    requires_system_checks = []  # quick, and of use when the database is away

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.add_argument("--site", metavar="CODE|ID", help="only this site")

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        try:
            found = overview(_site(options["site"]))
        except Error as error:
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            message = f"cannot tell, the database does not answer: {words}"
            raise CommandError(message, returncode=UNKNOWN) from error
        if options["json"]:
            self.stdout.write(json.dumps(found.as_json(), indent=2))
        else:
            for line, is_trouble in lines(found, now=timezone.now()):
                self.stdout.write(self.style.ERROR(line) if is_trouble else line)
        if found.exit_code:
            self.stdout.flush()
            sys.exit(found.exit_code)


def _site(wanted: str | None) -> Site | None:
    if wanted is None:
        return None
    site = Site.objects.filter(code=wanted).first()
    if site is None and wanted.isascii() and wanted.isdecimal() and len(wanted) < 19:  # noqa: PLR2004 (digits of a bigint)
        site = Site.objects.filter(pk=int(wanted)).first()
    if site is None:
        message = f"there is no site {wanted!r}; give its code or its id"
        raise CommandError(message, returncode=UNKNOWN)
    return site
