"""The way the source documents sketch it: the ORM, message by message, in the callback.

    python -m bench.reference PORT CODES LOGIN PASSWORD bare|sketch

`sketch` finds and saves the datalogger and, for each value, the sensor. It keeps no
history, which is kinder than the documents. `bare` is one save of one row, whatever
the message holds: the least that an ORM can do.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django

django.setup()

from django.db import models  # noqa: E402 (after django.setup)
from django.utils import timezone  # noqa: E402
from paho.mqtt.client import Client  # noqa: E402
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402

from apps.devices.models import Datalogger, SensorDevice  # noqa: E402


class BenchMessage(models.Model):
    topic = models.TextField()
    payload = models.JSONField()
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "bench"
        managed = False
        db_table = "bench_message"

    def __str__(self) -> str:
        return self.topic


def save_bare(topic: str, payload: bytes) -> None:
    BenchMessage(topic=topic, payload=json.loads(payload)).save()


def save_as_sketched(topic: str, payload: bytes) -> None:
    code, _, type_, number, _ = topic.split("/")
    datalogger = Datalogger.objects.get(site__code=code, type=type_, number=number)
    datalogger.presence, datalogger.last_seen_at = "online", timezone.now()
    datalogger.save(update_fields=["presence", "last_seen_at"])
    for key, value in json.loads(payload)["values"].items():
        sensor = SensorDevice.objects.get(datalogger=datalogger, key=key)
        sensor.current_value, sensor.current_at = value, timezone.now()
        sensor.save(update_fields=["current_value", "current_at"])


def main() -> None:
    port, codes, username, password, way = sys.argv[1:6]
    save = save_bare if way == "bare" else save_as_sketched
    client = Client(CallbackAPIVersion.VERSION2, client_id="bench-reference")
    client.username_pw_set(username, password)

    def on_message(_client: Client, _data: object, message: Any) -> None:
        save(message.topic, message.payload)

    client.on_message = on_message
    client.connect("127.0.0.1", int(port))
    for code in codes.split(","):
        client.subscribe(f"{code}/datalogger/+/+/data", qos=1)
    client.loop_forever()


if __name__ == "__main__":
    main()
