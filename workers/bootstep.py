"""Hooks the MQTT runtime into a Celery worker.

A step of the *worker* blueprint: it starts and stops once a process, while the steps
of the consumer are restarted whenever Redis hiccups.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from apps.core.shards import queue_name, shard_of_queue
from workers import dblimits
from workers.runtime import Runtime, set_current

log = logging.getLogger(__name__)

TERMINATE_S = 1.0


class MqttStep(bootsteps.StartStopStep):
    """Starts the runtime, drains it first on shutdown, shows it to `inspect stats`."""

    label = "MQTT"
    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(worker, **kwargs)
        self.runtime: Runtime | None = None

    def create(self, worker: Any) -> Runtime:  # type: ignore[override]  # noqa: ANN401
        pool = worker.pool_cls.__module__.rsplit(".", 1)[-1]
        if pool != "thread":
            message = f"an MQTT worker needs -P threads, not {pool}"
            raise ImproperlyConfigured(message)
        queues = worker.app.amqp.queues
        shards = _shards_of(list(queues.consume_from))
        # No command is taken before the lease is ours: a standby on the same queue
        # would swallow what is meant for the owner.
        queues.deselect(list(queues.consume_from))
        dblimits.install()
        self.runtime = Runtime(
            worker.hostname,
            shards,
            consume=lambda shard: _consume(worker, shard),
            cancel=lambda shard: _cancel(worker, shard),
        )
        return self.runtime

    def start(self, worker: Any) -> None:  # noqa: ANN401
        if self.runtime is None:
            return
        set_current(self.runtime)
        self.runtime.start()

    def close(self, worker: Any) -> None:  # noqa: ANN401
        if self.runtime is not None:
            self.runtime.begin_drain()

    def stop(self, worker: Any) -> None:  # noqa: ANN401
        self._stop(float(settings.MQTT_SHUTDOWN_TIMEOUT))

    def terminate(self, worker: Any) -> None:  # noqa: ANN401
        self._stop(TERMINATE_S)

    def _stop(self, timeout_s: float) -> None:
        runtime, self.runtime = self.runtime, None
        if runtime is not None:
            runtime.stop(timeout_s)
            set_current(None)

    def info(self, worker: Any) -> dict[str, Any]:  # type: ignore[override]  # noqa: ANN401
        return {"mqtt": self.runtime.info() if self.runtime else {}}


def _shards_of(queues: list[str]) -> list[int]:
    shards = [shard_of_queue(name) for name in queues]
    known = [shard for shard in shards if shard is not None]
    if not known or len(known) != len(shards):
        message = (
            "an MQTT worker serves shards and nothing else; start it with "
            f"-Q {queue_name(0)} (it was given: {', '.join(sorted(queues))})"
        )
        raise ImproperlyConfigured(message)
    return sorted(known)


def _consume(worker: Any, shard: int) -> bool:  # noqa: ANN401
    """Take a shard's commands from now on; return whether they are being taken.

    Called again and again on the keeper's thread: a consumer that was just starting,
    or that Redis made start anew, may have missed the last call.
    """
    queues = worker.app.amqp.queues
    name = queue_name(shard)
    queues.select_add(queues[name])  # for a consumer that (re)starts later
    consumer = worker.consumer
    tasks = getattr(consumer, "task_consumer", None)
    if tasks is None:
        return False
    if tasks.consuming_from(name):
        return True
    consumer.call_soon(consumer.add_task_queue, name)
    return False


def _cancel(worker: Any, shard: int) -> None:  # noqa: ANN401
    name = queue_name(shard)
    worker.app.amqp.queues.deselect(name)
    consumer = worker.consumer
    if getattr(consumer, "task_consumer", None) is not None:
        consumer.call_soon(consumer.cancel_task_queue, name)
