"""A task that is acknowledged when it is over, as none of ours is: the worst case."""

from __future__ import annotations

import time

from project.celery import app


@app.task(name="tests.naps.nap", acks_late=True)
def nap(seconds: float) -> None:
    print("nap begins", flush=True)
    time.sleep(seconds)
    print("nap over", flush=True)
