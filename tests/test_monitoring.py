"""What monitors and operators see of real processes: /metrics and mqtt_status."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from embedded.broker import Broker
from tests.mqtt import Peer
from tests.system import ROOT, WEB, System, until

pytestmark = pytest.mark.system


def metrics_of(system: System) -> dict[tuple[str, str], float]:
    """Return each series by its name and label values, without our prefix."""
    answer = WEB.get(f"{system.url}/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name.removeprefix("guardiano_"), " ".join(sample.labels.values())): (
            sample.value
        )
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def total(found: dict[tuple[str, str], float], name: str, part: str = "") -> float:
    return sum(v for (n, labels), v in found.items() if n == name and part in labels)


def mqtt_status(system: System, site: dict) -> tuple[int, dict]:
    """Run the command as an operator does, for one site."""
    done = subprocess.run(
        [sys.executable, "manage.py", "mqtt_status", "--json", "--site", site["code"]],
        cwd=ROOT,
        env=system.env,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout)


def test_metrics_and_mqtt_status_tell_of_all_processes(
    system: System, own_broker: Broker
) -> None:
    site = system.make_site("Watched", own_broker.port)
    system.connect(site)
    before = metrics_of(system)
    with Peer(own_broker.port) as peer:
        topic = f"{site['code']}/datalogger/a/1/data"
        peer.publish(topic, {"values": {"n": 1}}, tag=1)
        until(lambda: system.values_of(site) == [1.0], "the value is stored")
    reconciled = ("reconcile_age_seconds", "")
    until(lambda: reconciled in metrics_of(system), "the first reconcile")

    code, seen = mqtt_status(system, site)

    assert code == 0, seen
    assert seen["connections"][0]["counters"]["stored"] == 1
    assert [worker["alive"] for worker in seen["workers"]].count(True) >= 1
    assert seen["reconcile_age_seconds"] < 60

    def has_counted() -> dict[tuple[str, str], float] | None:
        found = metrics_of(system)
        return found if total(found, "batch_commit_seconds_count") else None

    found = until(has_counted, "the worker said its numbers")
    assert found["messages_stored_total", str(site["id"])] == 1
    assert found["connections", "connected"] >= 1
    assert total(found, "shard_lease_alive") == 2
    assert total(found, "worker_alive", "mqtt0") == 1
    assert found[reconciled] < 60
    assert total(found, "sse_clients") >= 0

    drops = total(before, "connection_drops_total", "lost")
    own_broker.kill()
    system.wait_status(site, "error")

    def has_dropped() -> bool:
        return total(metrics_of(system), "connection_drops_total", "lost") > drops

    until(has_dropped, "the drop is counted")
    code, seen = mqtt_status(system, site)
    assert code == 1
    assert site["code"] in seen["troubles"][0]
    system.stop_site(site)


def test_a_scrape_is_quick(system: System) -> None:
    metrics_of(system)
    started = time.monotonic()

    metrics_of(system)

    assert time.monotonic() - started < 15  # 0.03 s usually
