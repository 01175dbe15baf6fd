"""manage.py prepare: brings an installation up to date before its processes start.

One process does it all, since each start of Django costs a second. Safe to repeat, and
to run from two containers at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apps.core.translations import compile_catalogs
from apps.telemetry.partitions import ensure_ahead
from project import env
from project.beat import retire_removed_entries

LOCK_KEY = 7_201_190_318  # chosen at random, ours alone


class Command(BaseCommand):
    help = "Migrate, retire old schedules, make the administrator; --demo: the demo."
    requires_system_checks = []  # the database may be empty

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--demo", action="store_true", help="register the demo's sites (load_demo)"
        )

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        with _one_at_a_time():
            self._migrate()
            retired = retire_removed_entries()
            if retired:
                self._say(f"{retired} schedule entries retired")
            days = ensure_ahead()
            if days:
                self._say(f"{len(days)} days of readings made ready")
            self._say(ensure_administrator())
            for path in compile_catalogs():
                self._say(f"translation compiled: {path.parent.parent.name}")
            if options["demo"]:
                call_command("load_demo", stdout=self.stdout)

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        pending = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        if pending:
            self._say(f"applying {pending} migrations")
        # Also with nothing pending: an interrupted run may have left out the
        # permissions that come after the last migration.
        call_command("migrate", verbosity=0, interactive=False)
        self._say("database up to date")

    def _say(self, line: str) -> None:
        self.stdout.write(f"prepare: {line}")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock on the database, and lift the limits meant for web requests."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
    try:
        yield
    finally:
        # The session ends here, and with it the lock and the settings.
        connection.close()


def ensure_administrator() -> str:
    """Make ADMIN_USERNAME a superuser with ADMIN_PASSWORD; return what was done.

    Without ADMIN_PASSWORD no user is touched. An unchanged password is not stored
    again: that would end its owner's sessions.
    """
    if not (os.environ.get("ADMIN_PASSWORD") or os.environ.get("ADMIN_PASSWORD_FILE")):
        return "ADMIN_PASSWORD not set, users left alone"
    name, password = env.text("ADMIN_USERNAME", "admin"), env.secret("ADMIN_PASSWORD")
    user = User.objects.filter(username=name).first()
    if user is None:
        User.objects.create_superuser(name, password=password)
        return f"administrator {name} created"
    changed = []
    if not user.check_password(password):
        user.set_password(password)
        changed.append("password")
    for flag in ("is_active", "is_staff", "is_superuser"):
        if not getattr(user, flag):
            setattr(user, flag, True)
            changed.append(flag)
    if not changed:
        return f"administrator {name} unchanged"
    user.save(update_fields=changed)
    return f"administrator {name}: {', '.join(changed)} set"
