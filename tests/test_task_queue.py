"""A Celery worker with our transport, when Redis goes away at the wrong moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery

from embedded.valkey import Valkey
from project.celery import app
from tests.system import ROOT, until

pytestmark = pytest.mark.system

WORKER = "-m celery -A tests.naps worker -P threads -c 2 -Q default --without-gossip"
HEARTBEAT_S = 2  # of Celery's workers


class Worker:
    """Takes naps, from a queue in a Redis of its own."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "worker.log"
        self.valkey = Valkey(folder / "valkey")
        self.valkey.start()
        self.sender = Celery(broker=self.valkey.url, set_as_current=False)
        self.sender.conf.update(task_queues=app.conf.task_queues)
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *WORKER.split()],
                cwd=ROOT,
                env={
                    **os.environ,
                    "REDIS_URL": self.valkey.url,
                    "TMPDIR": str(folder),  # kombu writes what it cannot give back
                },
                stdout=out,
                stderr=out,
            )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.sender.close()
        self.valkey.stop()

    def said(self, words: str) -> int:
        return self.log.read_text().count(words)

    def nap(self, seconds: float) -> None:
        self.sender.send_task(
            "tests.naps.nap", (seconds,), queue="default", routing_key="default"
        )


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path)
    try:
        until(lambda: worker.said("ready."), "it is ready", 60)
        yield worker
    finally:
        worker.close()


def test_a_redis_that_goes_away_during_a_task_ends_no_worker(worker: Worker) -> None:
    worker.nap(2)
    until(lambda: worker.said("nap begins"), "it naps")
    worker.valkey.stop()
    until(lambda: worker.said("Connection to broker lost"), "it notices")
    worker.valkey.start()
    until(lambda: worker.said("nap over"), "the nap goes on")
    worker.nap(0)
    until(lambda: worker.said("nap over") == 2, "it takes tasks again", 60)

    assert worker.process.poll() is None


def test_a_cut_of_the_line_that_commands_come_on_leaves_the_worker_hearing(
    worker: Worker,
) -> None:
    """A client that connected that line again by itself then waited on it for ever."""
    with redis.Redis.from_url(worker.valkey.url) as client:
        # A worker says "ready." before it has subscribed.
        until(lambda: client.client_kill_filter(_type="pubsub") == 1, "it is cut")
    worker.nap(0)

    until(lambda: worker.said("nap over"), "it takes the task", 60)


def heartbeat_notices_first(worker: Worker) -> None:
    """Take Redis away; the first to notice is a heartbeat that is due."""
    worker.process.send_signal(signal.SIGSTOP)
    worker.valkey.kill()
    time.sleep(HEARTBEAT_S + 1)
    worker.process.send_signal(signal.SIGCONT)
    until(lambda: worker.said("Connection to broker lost"), "it notices", 60)


def test_a_worker_follows_signals_while_its_heartbeat_cannot_be_sent(
    worker: Worker,
) -> None:
    heartbeat_notices_first(worker)

    worker.process.terminate()

    assert worker.process.wait(60) == 0


def test_a_worker_whose_heartbeat_could_not_be_sent_takes_tasks_again(
    worker: Worker,
) -> None:
    heartbeat_notices_first(worker)

    worker.valkey.start()
    worker.nap(0)

    until(lambda: worker.said("nap over"), "it takes tasks again", 60)
