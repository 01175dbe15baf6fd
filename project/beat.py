"""Keeps django-celery-beat's table in step with the schedule in the code.

The scheduler writes the code's entries at every start, but an entry that the code no
longer has keeps firing from the database for ever.
"""

from __future__ import annotations

from django_celery_beat.models import PeriodicTask, PeriodicTasks

from project.celery import app

PREFIX = "guardiano: "


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
