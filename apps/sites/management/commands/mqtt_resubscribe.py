"""manage.py mqtt_resubscribe: have connected sites subscribe to everything again."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import DomainError
from apps.sites import care
from apps.sites.models import Site
from apps.sites.sites_named import site_named

EVERYTHING = User(is_superuser=True)  # a shell may see every site


class Command(BaseCommand):
    help = (
        "Have connected sites subscribe to all their topics again, which brings "
        "retained messages once more. Exit code 1 when a site could not be asked."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--site",
            metavar="ID|CODE",
            action="append",
            default=[],
            help="a site; may be given several times",
        )
        parser.add_argument(
            "--all", action="store_true", help="every site that shall be connected"
        )

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        if bool(options["site"]) == options["all"]:
            message = "say which sites: --site ID|CODE (several times), or --all"
            raise CommandError(message)
        sites = [site_named(wanted) for wanted in options["site"]]
        if options["all"]:
            sites = list(Site.objects.filter(connection__is_enabled=True))
        failed = [site for site in sites if not self._ask(site)]
        if failed:
            self.stdout.flush()
            sys.exit(1)

    def _ask(self, site: Site) -> bool:
        try:
            care.resubscribe(EVERYTHING, site)
        except DomainError as error:
            self.stdout.write(self.style.ERROR(f"{site.code}: {error.message}"))
            return False
        self.stdout.write(f"{site.code}: is subscribing to all its topics again")
        return True
