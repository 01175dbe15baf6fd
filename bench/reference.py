"""The way the source documents sketch it: one ORM save per message, in the callback.

    python -m bench.reference PORT CODES LOGIN PASSWORD

Kinder than the documents: no look-up of sensors, both values in one row.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django

django.setup()

from django.db import models
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

TABLE = (
    "CREATE TABLE bench_message (id bigserial PRIMARY KEY, topic text NOT NULL, "
    "payload jsonb NOT NULL, received_at timestamptz NOT NULL)"
)


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


def main() -> None:
    port, codes, username, password = sys.argv[1:5]
    client = Client(CallbackAPIVersion.VERSION2, client_id="bench-reference")
    client.username_pw_set(username, password)

    def on_message(_client: Client, _data: object, message: Any) -> None:
        BenchMessage(topic=message.topic, payload=json.loads(message.payload)).save()

    client.on_message = on_message
    client.connect("127.0.0.1", int(port))
    for code in codes.split(","):
        client.subscribe(f"{code}/datalogger/+/+/data", qos=1)
    client.loop_forever()


if __name__ == "__main__":
    main()
