"""manage.py start_mqtt_service: the documents' command; says where things went."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from apps.core.shards import queue_name
from apps.sites import leases
from apps.sites.overview import HEALTHY, UNKNOWN


class Command(BaseCommand):
    help = (
        "Nothing is started here: Celery workers own the connections now. Says which "
        "command starts them, and whether they run (exit code 0; 2: not all of them). "
        "--status is mqtt_status."
    )
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--status", action="store_true", help="show what mqtt_status shows"
        )
        parser.add_argument(
            "--log-level",
            help="for old scripts; without effect, set LOG_LEVEL for the workers",
        )

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        if options["status"]:
            call_command("mqtt_status", stdout=self.stdout)
            return
        try:
            held = leases.states()
        except Error as error:
            message = "cannot tell, the database does not answer"
            raise CommandError(message, returncode=UNKNOWN) from error
        shards = range(settings.MQTT_SHARDS)
        missing = [s for s in shards if s not in held or not held[s].is_alive]
        for line in _explanation(missing):
            self.stdout.write(line)
        code = UNKNOWN if missing else HEALTHY
        if code:
            self.stdout.flush()
            sys.exit(code)


def _explanation(missing: list[int]) -> list[str]:
    lines = [
        "Nothing to start here: Celery workers own the MQTT connections, one queue a "
        "shard.",
        "`python3 dev.py up`, the Procfile and docker-compose.yml start them; a site "
        "is started by POST /api/v1/mqtt/sites/{id}/start/ or its page.",
    ]
    if not missing:
        return [*lines, f"All {settings.MQTT_SHARDS} shards have a worker."]
    return [
        *lines,
        "Shards without a worker: " + ", ".join(str(shard) for shard in missing),
        "Start one with: celery -A workers worker -P threads -c 4 "
        f"-Q {queue_name(missing[0])} -n mqtt{missing[0]}@%h",
    ]
