"""A worker of which a part is dead or stuck ends by itself, and says why.

Real processes with sabotage in them (`tests.sabotage`), all started at once: they wait.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.system import Process, System, until
from workers.watchdog import BROKEN

pytestmark = pytest.mark.system

# Of shards that only these workers know, so that nobody is disturbed.
FIRST_SHARD = 40
SAYS = {
    "mqtt-writer-stuck": "thread stuck name=mqtt-writer",
    "mqtt-leases-stuck": "thread stuck name=mqtt-leases",
    "mqtt-network-stuck": "thread stuck name=mqtt-network",
    "mqtt-reporter-stuck": "thread stuck name=mqtt-reporter",
    "mqtt-writer-dead": "thread died name=mqtt-writer",
    "deaf": "no task arrives shards=",
}
HEALTHY = "no-sites"


@pytest.fixture(scope="module")
def workers(system: System, tmp_path_factory) -> Iterator[dict[str, Process]]:
    folder = tmp_path_factory.mktemp("sabotaged")
    env = system.env | {"MQTT_SHARDS": "64"}
    started: dict[str, Process] = {}
    for number, way in enumerate((*SAYS, HEALTHY), FIRST_SHARD):
        command = (
            f"{sys.executable} -m tests.sabotage no-sites,quick-watchdogs,{way} "
            f"worker -P threads -c 2 -Q mqtt.shard.{number} -n {way}@%h "
            "--without-gossip --without-mingle"
        )
        started[way] = Process(way, command, env, folder / f"{way}.log")
        started[way].start()
    yield started
    for process in started.values():
        process.stop()
    system.sql("DELETE FROM sites_shardlease WHERE shard >= %s", FIRST_SHARD)


def _ended(process: Process) -> bool:
    assert process.popen is not None
    return process.popen.poll() is not None


@pytest.mark.parametrize("way", SAYS)
def test_a_worker_with_a_broken_part_ends_and_says_which(
    workers: dict[str, Process], way: str
) -> None:
    process = workers[way]

    until(lambda: _ended(process), f"the end of {way}", 120)

    said = process.log.read_text(errors="replace")
    assert process.popen is not None
    assert process.popen.returncode == BROKEN, said[-2000:]
    assert SAYS[way] in said
    # Nothing else; both writers die here, at times before the first has ended all.
    assert said.count("CRITICAL") == said.count(SAYS[way]), said[-2000:]
    assert "most recent call first" in said  # what each thread was doing


def test_a_worker_without_a_fault_is_left_alone(workers: dict[str, Process]) -> None:
    """It has heard its own echoes meanwhile, under the same short waits."""
    for way in SAYS:
        until(lambda way=way: _ended(workers[way]), f"the end of {way}", 120)

    assert not _ended(workers[HEALTHY])
    assert "CRITICAL" not in workers[HEALTHY].log.read_text(errors="replace")
