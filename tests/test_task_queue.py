"""A Celery worker with our transport, when Redis goes away in the middle of a task."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from embedded.valkey import Valkey
from project.celery import app
from tests.system import ROOT, until

pytestmark = pytest.mark.system

WORKER = "-m celery -A tests.naps worker -P threads -c 2 -Q default --without-gossip"


def test_a_redis_that_goes_away_during_a_task_ends_no_worker(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"

    def said(words: str) -> int:
        return log.read_text().count(words)

    with Valkey(tmp_path / "valkey") as valkey, log.open("wb") as out:
        sender = Celery(broker=valkey.url, set_as_current=False)
        sender.conf.update(task_queues=app.conf.task_queues)

        def nap(seconds: float) -> None:
            sender.send_task(
                "tests.naps.nap", (seconds,), queue="default", routing_key="default"
            )

        worker = subprocess.Popen(
            [sys.executable, *WORKER.split()],
            cwd=ROOT,
            env={
                **os.environ,
                "REDIS_URL": valkey.url,
                "TMPDIR": str(tmp_path),  # kombu writes down what it cannot give back
            },
            stdout=out,
            stderr=out,
        )
        try:
            until(lambda: said("ready."), "it is ready", 60)
            nap(2)
            until(lambda: said("nap begins"), "it naps")
            valkey.stop()
            until(lambda: said("Connection to broker lost"), "it notices")
            valkey.start()
            until(lambda: said("nap over"), "the nap goes on")
            nap(0)
            until(lambda: said("nap over") == 2, "it takes tasks again", 60)
            assert worker.poll() is None
        finally:
            worker.kill()
            worker.wait()
            sender.close()
