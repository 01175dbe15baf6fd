"""Beat on django-celery-beat's table, kept in step with the schedule in the code.

The scheduler writes the code's entries at every start, but an entry that the code no
longer has keeps firing from the database for ever.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import InterfaceError, OperationalError, connection
from django_celery_beat.models import PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler

from project.celery import app

log = logging.getLogger(__name__)

PREFIX = "guardiano: "
TRY_EVERY_S = 2.0


_AWAY = (OperationalError, InterfaceError)


class PatientScheduler(DatabaseScheduler):  # type: ignore[misc]
    """Outlives a database that is away, at the start and later."""

    _is_waiting = False

    def setup_schedule(self) -> None:
        """Wait for the database; the parent would end with a traceback.

        A signal meanwhile has Celery ask for a scheduler, to save its schedule: a
        second one, since this one is not ready. That is the end, not one more wait.
        """
        if PatientScheduler._is_waiting:
            raise SystemExit
        PatientScheduler._is_waiting = True
        try:
            self._set_up()
        finally:
            PatientScheduler._is_waiting = False

    def _set_up(self) -> None:
        while True:
            try:
                connection.ensure_connection()
                super().setup_schedule()
            except _AWAY as error:
                log.warning("beat waits for the database: %s", _first_line(error))
                connection.close()
                self._initial_read = True
                time.sleep(TRY_EVERY_S)
            else:
                return

    def all_as_schedule(self) -> Any:  # noqa: ANN401 (its parent has no types)
        """Go by what was read last; only the start needs the database."""
        try:
            return super().all_as_schedule()
        except _AWAY as error:
            if self._schedule is None:
                raise
            log.warning("schedule not read anew: %s", _first_line(error))
            connection.close()
            return self._schedule


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def retire_removed_entries() -> int:
    """Disable our entries that the code no longer has; return how many."""
    retired: int = (
        PeriodicTask.objects.filter(name__startswith=PREFIX, enabled=True)
        .exclude(name__in=list(app.conf.beat_schedule))
        .update(enabled=False)
    )
    if retired:
        PeriodicTasks.update_changed()  # update() sends no signal
    return retired
