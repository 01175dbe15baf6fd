"""The app of an MQTT worker: the project's, with the step that owns connections.

celery -A workers worker -P threads -c 4 -Q mqtt.shard.0 -n mqtt0@%h
"""

from __future__ import annotations

from project.celery import app

# By name: the class itself would need Django's apps before they are loaded.
app.steps["worker"].add("workers.bootstep:MqttStep")
app.conf.imports = (*app.conf.imports, "workers.tasks")

__all__ = ["app"]
