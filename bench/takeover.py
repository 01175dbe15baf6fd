"""How long a site is without its worker: from the owner's end to the standby's SUBACK.

    .venv/bin/python -m bench.takeover [--kills 20] [--stops 10]

Twice with SIGKILL. On one machine the standby sees at once that the owner is gone. As
if each were on a machine of its own, it waits until the lease has run out: that is the
promise. With SIGTERM the owner hands over.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.results import Result, percentile, table
from bench.stage import Stage, until
from tests.fakebroker import SessionLog
from tests.system import Process

KILL_P95_S = 20.0
STOP_MOST_S = 3.0
NAMES = ("mqtt0", "mqtt1")
SPREAD_S = 5.0  # a lease is renewed every 5 s: the end comes anywhere in between


class TimedBroker(SessionLog):
    """Notes when each session was subscribed: from then on messages come."""

    def __init__(self) -> None:
        self.subscribed_at: list[float] = []
        super().__init__()

    def grant(self, client: socket.socket, body: bytes, codes: bytes) -> None:
        super().grant(client, body, codes)
        self.subscribed_at.append(time.monotonic())


class Relay:
    """Two workers of one shard; the one that ends is started again as the standby."""

    def __init__(self, stage: Stage, broker: TimedBroker, ways: str) -> None:
        """Prepare the workers; `ways` are those of `tests.sabotage`."""
        self.stage, self.broker = stage, broker
        env = stage.env | {"LOG_LEVEL": "INFO"}
        self.workers = [
            Process(
                name,
                f"{sys.executable} -m tests.sabotage {ways} worker -P threads -c 4 "
                f"-Q mqtt.shard.0 -n {name}@%h --without-gossip --without-mingle",
                env,
                stage.folder / f"{name}.log",
            )
            for name in NAMES
        ]

    @contextmanager
    def running(self) -> Iterator[Relay]:
        try:
            for worker in self.workers:
                self.start(worker)
                until(lambda: bool(self.broker.alive), "the site is connected")
            yield self
        finally:
            for worker in self.workers:
                worker.stop()

    def start(self, worker: Process) -> None:
        """Start a worker; when this returns it looks after leases."""
        before = _starts(worker)
        worker.start()
        until(lambda: _starts(worker) > before, f"{worker.name} is there")
        time.sleep(2)

    def owner(self) -> Process:
        rows = self.stage.sql("SELECT owner FROM sites_shardlease WHERE shard = 0")
        name = str(rows[0][0]).partition("@")[0]
        return self.workers[NAMES.index(name)]

    def times(self, count: int, end: Callable[[Process], None]) -> list[float]:
        """End the owner so many times; return how long each takeover took, in s."""
        taken: list[float] = []
        for _ in range(count):
            time.sleep(random.uniform(0, SPREAD_S))
            owner, known = self.owner(), len(self.broker.subscribed_at)
            began = time.monotonic()
            end(owner)
            taken.append(self._next(known) - began)
            if owner.popen is not None:
                owner.popen.wait(60)
            self.start(owner)
        return taken

    def _next(self, known: int) -> float:
        """Return when the site was subscribed anew."""
        until(lambda: len(self.broker.subscribed_at) > known, "the standby is there")
        return self.broker.subscribed_at[-1]


def _starts(worker: Process) -> int:
    if not worker.log.exists():
        return 0
    return worker.log.read_text(errors="replace").count("worker owner=")


def _kill(worker: Process) -> None:
    worker.kill()


def _terminate(worker: Process) -> None:
    assert worker.popen is not None
    worker.popen.terminate()


def measure(*, quick: bool) -> list[Result]:
    """Return what a takeover takes; the full measurement ends 20 owners each way."""
    return run(kills=3, stops=3) if quick else run(kills=20, stops=10)


def run(*, kills: int, stops: int) -> list[Result]:
    results: list[Result] = []
    with Stage() as stage, TimedBroker() as broker:
        stage.make_sites(1)
        stage.sql(f"UPDATE sites_mqttconnection SET broker_port = {broker.port}")
        with Relay(stage, broker, "stranger").running() as relay:
            taken = relay.times(kills, _kill)
            note = f"{kills} kills; workers as on two machines"
            results += _results("SIGKILL", taken, note, p95_s=KILL_P95_S)
        with Relay(stage, broker, "nothing").running() as relay:
            taken = relay.times(kills, _kill)
            note = f"{kills} kills; both workers on one machine"
            results += _results("SIGKILL", taken, note, p95_s=KILL_P95_S)
            taken = relay.times(stops, _terminate)
            results.append(
                Result(
                    "SIGTERM -> standby subscribed, longest",
                    max(taken),
                    "s",
                    at_most=STOP_MOST_S,
                    note=f"{stops} stops",
                )
            )
    return results


def _results(what: str, taken: list[float], note: str, *, p95_s: float) -> list[Result]:
    name = f"{what} -> standby subscribed"
    return [
        Result(f"{name}, p50", percentile(taken, 0.5), "s", note=note),
        Result(f"{name}, p95", percentile(taken, 0.95), "s", at_most=p95_s, note=note),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.takeover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20, help="of each kind (20)")
    parser.add_argument("--stops", type=int, default=10, help="by SIGTERM (10)")
    options = parser.parse_args()
    results = run(kills=options.kills, stops=options.stops)
    print(table(results))
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
