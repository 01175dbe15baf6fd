"""One site's latency while another one sends as much as the broker takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from bench.latency import committed
from bench.results import Result, percentile
from bench.stage import ROOT, Stage, until

STORM = 30_000  # a second, which is more than a worker stores
STORM_MESSAGES = 3_000_000  # more than fit into the run
QUIET_RATE = 100
WRITERS = 4  # of a worker
GOAL = 2.0


def measure(*, quick: bool) -> list[Result]:
    seconds = 4 if quick else 30
    with Stage(commit_times=True) as stage:
        # A connection keeps to one of a worker's writers, who take turns by id.
        storming, *others = stage.make_sites(WRITERS + 1)
        other, same = others[0], others[-1]
        with stage.worker():
            stage.warm_up([storming, other, same])
            calm = {
                name: _p99(stage, site, f"calm{name}", seconds)
                for name, site in (("other", other), ("same", same))
            }
            with _storm(stage, storming):
                stormy = {
                    name: _p99(stage, site, f"stormy{name}", seconds)
                    for name, site in (("other", other), ("same", same))
                }
    results = []
    for name in calm:
        words = f"quiet site on the {name} writer: publish -> committed, p99"
        results += [
            Result(words, calm[name], "ms"),
            Result(f"{words}, while another storms", stormy[name], "ms"),
            Result("  that is, times", stormy[name] / calm[name], "", at_most=GOAL),
        ]
    return results


def _p99(stage: Stage, site: str, name: str, seconds: int) -> float:
    plan = stage.plan([site], QUIET_RATE * seconds, QUIET_RATE, live=True, name=name)
    stage.publish(plan)
    until(lambda: len(committed(stage, name)) == plan.messages, f"{name} is stored")
    sent = committed(stage, name)
    return percentile([(done - at) / 1e3 for _, at, done in sent], 0.99)


@contextmanager
def _storm(stage: Stage, site: str) -> Iterator[None]:
    plan = stage.plan([site], STORM_MESSAGES, STORM, live=True, name="storm")
    command = [sys.executable, "-m", "bench.generator", json.dumps(asdict(plan))]
    with subprocess.Popen(
        command, cwd=ROOT, env=stage.env, stdout=subprocess.DEVNULL
    ) as generator:
        try:
            yield
        finally:
            generator.kill()
