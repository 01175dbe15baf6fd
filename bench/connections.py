"""Two thousand connections in one worker: memory, time to connect, time to end.

An observer at the broker counts births and goodbyes on the status topics: a birth is
published when the subscriptions are confirmed, a goodbye just before the DISCONNECT.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from bench.results import Result
from bench.stage import LOGIN, Stage, memory_mb, until

COUNT = 2_000
TAKEN = "SELECT extract(epoch FROM acquired_at) FROM sites_shardlease"
GOAL_MB, GOAL_CONNECT_S, GOAL_END_S = 200, 10, 2


class Observer:
    """By topic, when a site was last said to be online, or offline (Unix time)."""

    def __init__(self) -> None:
        self.online: dict[str, float] = {}
        self.offline: dict[str, float] = {}

    def note(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        said = self.online if message.payload == b"online" else self.offline
        said[message.topic] = time.time()


def measure(*, quick: bool) -> list[Result]:
    count = 200 if quick else COUNT
    with Stage() as stage:
        stage.make_sites(count)
        # Making them has queued a command for each, which nobody waits for who was
        # started again, or takes over: that is measured.
        redis.Redis.from_url(stage.valkey.url).delete("mqtt.shard.0")
        started = time.time()
        with observing(stage) as seen, stage.worker() as worker:
            until(lambda: len(seen.online) == count, "all are connected", 120)
            taken = stage.number(TAKEN)
            last = max(seen.online.values())
            connect_s, start_s = last - taken, last - started
            time.sleep(2 if quick else 10)
            memory = memory_mb(worker.pid)
            asked = time.time()
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)
            end_s = time.time() - asked
            until(lambda: len(seen.offline) == count, "all said goodbye", 30)
            goodbye_s = max(seen.offline.values()) - asked
    words = f"{count:,} connections"
    return [
        Result(f"{words}: memory of the worker", memory, "MB", at_most=GOAL_MB),
        Result(
            f"{words}: all connected",
            connect_s,
            "s",
            at_most=GOAL_CONNECT_S,
            note="from the lease until the last subscription is confirmed",
        ),
        Result(f"{words}: connected since the start", start_s, "s"),
        Result(
            f"{words}: all gone with a goodbye after SIGTERM",
            goodbye_s,
            "s",
            at_most=GOAL_END_S,
        ),
        Result(f"{words}: process ended after SIGTERM", end_s, "s"),
    ]


@contextmanager
def observing(stage: Stage) -> Iterator[Observer]:
    observer = Observer()
    client = Client(CallbackAPIVersion.VERSION2, client_id="bench-observer")
    client.username_pw_set(*LOGIN)
    client.on_message = observer.note
    client.connect("127.0.0.1", stage.broker.port)
    client.subscribe("+/backend/status", qos=0)
    client.loop_start()
    try:
        yield observer
    finally:
        client.disconnect()
        client.loop_stop()
