"""Messages stored a second: one worker, against the ORM message by message.

    .venv/bin/python -m bench.ingest [--messages 100000] [--sites 4] [--protocol 3.1.1]

One run on one machine: the same broker, the same PostgreSQL with its default
durability, the same messages (QoS 1, two values each), generator beside it. Messages
a second are counted from the first publish to the last commit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from contextlib import AbstractContextManager
from typing import Any, cast

from bench.reference import TABLE
from bench.stage import LOGIN, Stage, until

GOAL_RATIO, GOAL_RATE = 40, 10_000

# When each way stored its last message, Unix time.
REFERENCES = {
    "sketch": "SELECT extract(epoch FROM max(current_at)) FROM devices_sensordevice",
    "bare": "SELECT extract(epoch FROM max(received_at)) FROM bench_message",
}


def main() -> int:
    options = parse()
    with Stage() as stage:
        codes = make_sites(stage, options.sites, options.protocol)
        stored = measure_worker(stage, codes, options.messages, options.rate)
        stage.sql(TABLE)
        few = options.reference_messages
        sketch = measure_reference(stage, codes, few, "sketch")
        bare = measure_reference(stage, codes, few, "bare")
    ratio = stored / sketch
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {stage.broker.kind}")
    for name, rate in (
        ("as the documents sketch it", sketch),
        ("one bare ORM save per message", bare),
        ("one Guardiano worker", stored),
    ):
        print(f"{name:32} {rate:10,.0f} messages/s {rate / sketch:6.1f}")
    is_good = ratio >= GOAL_RATIO and stored >= GOAL_RATE
    print(
        f"goal: {GOAL_RATE:,} messages/s and {GOAL_RATIO} times the reference: "
        f"{'reached' if is_good else 'missed'}"
    )
    return 0 if is_good else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--reference-messages", type=int, default=2_000)
    parser.add_argument("--rate", type=int, default=20_000, help="of the generator")
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--protocol", choices=["3.1.1", "5"], default="3.1.1")
    return parser.parse_args()


def make_sites(stage: Stage, count: int, protocol: str) -> list[str]:
    """Return the codes of new, enabled sites on the stage's broker."""
    port = stage.broker.port if protocol == "3.1.1" else stage.broker.v5_port
    script = (
        "from apps.sites.services import *\n"
        f"for n in range({count}):\n"
        "    site = site_create(name=f'Bench {n}')\n"
        "    connection = connection_of(site)\n"
        "    connection_configure(connection, password='%s', fields=dict(\n"
        f"        broker_host='127.0.0.1', broker_port={port}, username='%s',\n"
        f"        protocol='{protocol}', is_enabled=True))\n" % (LOGIN[1], LOGIN[0])
    )
    stage.run("manage.py", "shell", "--no-imports", "-c", script)
    return [str(row[0]) for row in stage.sql("SELECT code FROM sites_site ORDER BY id")]


def generate(
    stage: Stage, codes: list[str], messages: int, rate: int = 1_000
) -> tuple[float, float]:
    """Publish; return when it began (Unix time) and messages/s that the broker took."""
    out = stage.run(
        "-m",
        "bench.generator",
        str(stage.broker.port),
        ",".join(codes),
        str(messages),
        str(rate),
        *LOGIN,
    )
    result = json.loads(out)
    return time.time() - result["seconds"], messages / result["seconds"]


def measure_worker(stage: Stage, codes: list[str], messages: int, rate: int) -> float:
    with cast("AbstractContextManager[Any]", stage.worker()):
        birth = "SELECT count(*) FROM sites_shardlease WHERE owner <> ''"
        until(lambda: stage.number(birth) == 1, "the worker owns its shard")
        time.sleep(2)  # connections come up; a warm-up shows that they are
        warm_up = 100 * len(codes)
        generate(stage, codes, warm_up)
        stored = "SELECT sum(stored) FROM sites_connectionstats"
        until(lambda: stage.number(stored) == warm_up, "the warm-up is stored")
        began, published = generate(stage, codes, messages, rate)
        total = messages + warm_up
        until(lambda: stage.number(stored) >= total, "everything is stored", 600)
        ended = stage.number(
            "SELECT extract(epoch FROM max(received_at)) FROM telemetry_reading"
        )
    rows = stage.number("SELECT count(*) FROM telemetry_reading")
    again = stage.number("SELECT sum(duplicate) FROM sites_connectionstats")
    print(
        f"stored {rows:,.0f} readings of {total:,} messages, {again:,.0f} redelivered; "
        f"generator {published:,.0f} messages/s"
    )
    if rows != 2 * total:
        message = f"{rows} readings instead of {2 * total}"
        raise SystemExit(message)
    return messages / (max(ended, began + 0.001) - began)


def measure_reference(stage: Stage, codes: list[str], messages: int, way: str) -> float:
    """Store the same messages in the callback; see bench.reference."""
    port = str(stage.broker.port)
    command = ("python", "-m", "bench.reference", port, ",".join(codes), *LOGIN, way)
    done = REFERENCES[way]
    with stage.process(*command):
        stage.sql("UPDATE devices_sensordevice SET current_at = now()")
        at_rest = stage.number(done)
        while stage.number(done) == at_rest:  # until it has subscribed
            generate(stage, codes, 1)
            time.sleep(0.3)
        settled = time.time()
        began, _ = generate(stage, codes, messages)
        last = 0.0
        while last < (last := stage.number(done)) or time.time() < settled + 2:
            time.sleep(1)
    return messages / (last - began)


if __name__ == "__main__":
    raise SystemExit(main())
