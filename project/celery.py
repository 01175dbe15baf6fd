"""The Celery app: queues, transport and the beat schedule.

Task queues are explicit and carry their own exchange and routing key: a bare `Queue`
binds every queue to the key "default", and a worker without -Q takes them all.
"""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from celery import Celery
from celery.signals import beat_init, setup_logging
from django.conf import settings
from kombu import Exchange, Queue

from apps.core.shards import queue_name

app = Celery("guardiano", events="project.events:WorkerEvents")

_exchange = Exchange("guardiano", type="direct")
_queues = ["default", *(queue_name(shard) for shard in range(settings.MQTT_SHARDS))]

app.conf.update(
    broker_url=settings.REDIS_URL,
    result_backend=None,
    task_ignore_result=True,
    task_queues=[Queue(name, _exchange, routing_key=name) for name in _queues],
    task_default_queue="default",
    task_default_exchange="guardiano",
    task_default_routing_key="default",
    task_create_missing_queues=False,  # a typo in a queue's name is an error
    task_acks_late=False,  # a lost command is healed by the reconcile
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_send_task_events=True,
    task_send_sent_event=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # the default gives up after an hour
    broker_transport_options={
        "ack_emulation": False,  # decision 024
        "socket_timeout": 10,  # kombu's default None hangs on a frozen Redis
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # No `retry_on_timeout`: with it redis-py connects a lost subscription again by
        # itself and waits on it for ever (decision 025).
    },
    # A web request must not wait for a Redis that is away.
    task_publish_retry_policy={
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.2,
    },
    timezone="UTC",
    enable_utc=True,
    beat_scheduler="project.beat:PatientScheduler",
    beat_max_loop_interval=5,
    # `expire_seconds`: django-celery-beat does not know `expires`.
    beat_schedule={
        "guardiano: reconcile": {
            "task": "apps.sites.tasks.reconcile",
            "schedule": float(settings.RECONCILE_INTERVAL),
            "options": {"expire_seconds": settings.RECONCILE_INTERVAL},
        },
        "guardiano: offline check": {
            "task": "apps.devices.tasks.check_presence",
            "schedule": float(settings.OFFLINE_CHECK_INTERVAL),
            "options": {"expire_seconds": settings.OFFLINE_CHECK_INTERVAL},
        },
        "guardiano: roll up": {
            "task": "apps.telemetry.tasks.roll_up",
            "schedule": 15.0,
            "options": {"expire_seconds": 15},
        },
        "guardiano: alerts": {
            "task": "apps.alerts.tasks.check",
            "schedule": 30.0,
            "options": {"expire_seconds": 30},
        },
        "guardiano: overdue commands": {
            "task": "apps.sites.tasks.expire_commands",
            "schedule": 30.0,
            "options": {"expire_seconds": 30},
        },
        "guardiano: overdue discoveries": {
            "task": "apps.devices.tasks.close_overdue_discoveries",
            "schedule": 30.0,
            "options": {"expire_seconds": 30},
        },
        "guardiano: housekeeping": {
            "task": "apps.telemetry.tasks.housekeeping",
            "schedule": 3600.0,
            "options": {"expire_seconds": 3600},
        },
    },
)
app.autodiscover_tasks(["apps.sites", "apps.devices", "apps.telemetry", "apps.alerts"])


@setup_logging.connect
def _keep_django_logging(**_: object) -> None:
    """Leave logging to Django's settings: a receiver here stops Celery's own set-up."""
    import logging.config

    logging.config.dictConfig(settings.LOGGING)


@beat_init.connect
def _sync_schedule(**_: object) -> None:
    from project.beat import retire_removed_entries

    retire_removed_entries()
