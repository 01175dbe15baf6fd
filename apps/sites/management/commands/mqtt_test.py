"""manage.py mqtt_test: try a site's connection and say how each step went."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import DomainError
from apps.sites import trials
from apps.sites.services import connection_of
from apps.sites.sites_named import site_named
from apps.sites.trial_words import name_of

_MARKS = {True: "ok", False: "FAILED", None: "-"}


class Command(BaseCommand):
    help = (
        "Have a site's worker try the stored connection step by step: DNS, TCP, TLS, "
        "login, subscriptions, a round trip. Exit code 0: it works; 1: it does not; "
        "2: nothing was found out."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("site", metavar="SITE", help="its code or id")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        site = site_named(options["site"])
        try:
            result = trials.run(connection_of(site), trials.Given(site.pk, {}))
        except DomainError as error:
            raise CommandError(error.message, returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(result, indent=2))
        else:
            self._show(result)
        if not result["ok"]:
            self.stdout.flush()
            sys.exit(1)

    def _show(self, result: dict[str, Any]) -> None:
        width = max(len(name_of(step["name"])) for step in result["steps"])
        for step in result["steps"]:
            took = f"{step['ms']:.0f} ms" if step["ok"] is not None else ""
            name, mark = name_of(step["name"]).ljust(width), _MARKS[step["ok"]]
            line = f"{name}  {mark:6}  {took:>8}  {step['detail']}".rstrip()
            self.stdout.write(self.style.ERROR(line) if step["ok"] is False else line)
            for one in step.get("filters", ()):
                if not one["ok"]:
                    self.stdout.write(f"    refused: {one['filter']}")
