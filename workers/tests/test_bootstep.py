"""A worker that was started wrongly ends at once and says what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from workers.bootstep import _shards_of

WRONG = {
    "prefork": (["-P", "prefork", "-Q", "mqtt.shard.0"], "needs -P threads"),
    "no queue": (["-P", "threads"], "start it with -Q mqtt.shard.0"),
    "default too": (
        ["-P", "threads", "-Q", "default,mqtt.shard.0"],
        "serves shards and nothing else",
    ),
    "no such shard": (["-P", "threads", "-Q", "mqtt.shard.99"], "mqtt.shard.99"),
}


@pytest.fixture(scope="module")
def started() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start all of them at once: each takes two seconds to import everything."""
    nowhere = {"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": "postgres://x@/x"}
    workers = {
        name: subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "workers", "worker"),
                *("-c", "1", "-n", "refused@test", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | nowhere,
        )
        for name, (options, _) in WRONG.items()
    }
    yield workers
    for worker in workers.values():
        if worker.poll() is None:
            worker.kill()
        worker.communicate()


@pytest.mark.parametrize("name", WRONG)
def test_it_refuses_to_start_and_its_last_lines_say_why(name, started):
    _, why = WRONG[name]

    output, _ = started[name].communicate(timeout=300)

    assert started[name].returncode != 0
    assert why in "\n".join(output.strip().splitlines()[-6:])


@pytest.mark.parametrize(
    ("queues", "shards"),
    [
        (["mqtt.shard.0"], [0]),
        (["mqtt.shard.10", "mqtt.shard.2"], [2, 10]),
    ],
)
def test_a_worker_serves_the_shards_of_its_queues(queues, shards):
    assert _shards_of(queues) == shards
