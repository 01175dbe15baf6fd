"""Celery's events, for Flower: what cannot be told at once is told later or not at all.

Celery asks for a heartbeat to be published again and again until it works, on the
thread that takes the tasks and follows signals, and says nothing meanwhile (celery
5.7.0, kombu 5.7.0). With Redis away a worker did not even end when told to.
"""

from __future__ import annotations

from typing import Any

from celery.app.events import Events
from celery.events import EventDispatcher


class Dispatcher(EventDispatcher):
    """Tries once; what fails is kept and sent when the worker has Redis again."""

    def send(self, type: str, *args: Any, **fields: Any) -> None:  # noqa: ANN401
        super().send(type, *args, **fields | {"retry": False})


class WorkerEvents(Events):
    """The app's events, with that dispatcher."""

    dispatcher_cls = "project.events:Dispatcher"
