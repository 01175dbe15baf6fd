"""One site's latency while another one sends as much as the broker takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from bench.latency import arrivals, committed, listening
from bench.results import Result, percentile
from bench.stage import ROOT, Stage, until

STORM = 30_000  # a second, which is more than a worker stores
STORM_MESSAGES = 3_000_000  # more than fit into the run
QUIET_RATE = 100
WRITERS = 2  # of a worker
GOAL = 2.0
WAYS = ("committed", "browser")

Latency = tuple[float, float]  # p99 of each way, ms


def measure(*, quick: bool) -> list[Result]:
    seconds = 4 if quick else 30
    calm: dict[str, Latency] = {}
    stormy: dict[str, Latency] = {}
    with Stage(commit_times=True) as stage:
        # A connection keeps to one of a worker's writers, who take turns by id.
        storming, *others = stage.make_sites(WRITERS + 1)
        sites = {"other": others[0], "same": others[-1]}
        with stage.web() as url, stage.worker():
            stage.warm_up([storming, *sites.values()])
            for name, site in sites.items():
                calm[name] = _p99(stage, url, site, f"calm{name}", seconds)
            with _storm(stage, storming):
                for name, site in sites.items():
                    stormy[name] = _p99(stage, url, site, f"stormy{name}", seconds)
    results = []
    for name in sites:
        for way, before, with_storm in zip(WAYS, calm[name], stormy[name], strict=True):
            words = f"quiet site on the {name} writer: publish -> {way}, p99"
            times = with_storm / before
            results += [
                Result(words, before, "ms"),
                Result(f"{words}, while another storms", with_storm, "ms"),
                Result("  that is, times", times, "", at_most=GOAL),
            ]
    return results


def _p99(stage: Stage, url: str, site: str, name: str, seconds: int) -> Latency:
    plan = stage.plan([site], QUIET_RATE * seconds, QUIET_RATE, live=True, name=name)
    with listening(stage, url, [site]) as heard:
        stage.publish(plan)
        until(lambda: len(committed(stage, name)) == plan.messages, f"{name} is stored")
        time.sleep(1.0)  # the last values are told within half a second
    sent = committed(stage, name)
    commits = [(done - at) / 1e3 for _, at, done in sent]
    return percentile(commits, 0.99), percentile(arrivals(sent, heard), 0.99)


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
