"""Publishing through web, queue, worker and a real broker."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from embedded.broker import Broker
from tests.fakebroker import FakeBroker
from tests.mqtt import Peer
from tests.system import PATIENCE_S, System, until

pytestmark = pytest.mark.system

SECRET = "CANARY-b77c"
CLIENT = httpx.Client()  # keeps its connections, as programs do


@pytest.fixture(scope="module", autouse=True)
def _hang_up() -> Iterator[None]:
    yield
    CLIENT.close()


def publish(
    system: System, site: dict[str, Any], topic: str, *, key: str = "", **body: Any
) -> httpx.Response:
    """Publish under the site's code as the superuser; the answer as it is."""
    return CLIENT.post(
        f"{system.url}/api/v1/mqtt/sites/{site['id']}/publish/",
        timeout=PATIENCE_S,
        headers=system.bearer | ({"Idempotency-Key": key} if key else {}),
        json={"topic": f"{site['code']}/{topic}", "message": SECRET} | body,
    )


def test_what_is_published_is_heard_exactly_once_however_often_it_is_asked(
    system: System, broker: Broker
) -> None:
    site = system.make_site("Commanded", broker.port)
    system.connect(site)
    topic = f"{site['code']}/gateway/g/datalogger/t/1/input"
    with Peer(broker.port) as ear:
        ear.subscribe(f"{site['code']}/#")
        ear.publish(f"{site['code']}/ready", "x", tag=0)
        until(lambda: f"{site['code']}/ready" in ear.heard, "the ear listens")

        with ThreadPoolExecutor(10) as pool:
            asked = [
                pool.submit(
                    publish, system, site, "gateway/g/datalogger/t/1/input", key="k"
                )
                for _ in range(10)
            ]
            answers = [one.result() for one in asked]
        took_ms = []
        for n in range(20):
            started = time.monotonic()
            answer = publish(system, site, "x", message={"n": n}, qos=n % 2)
            took_ms.append((time.monotonic() - started) * 1e3)
            assert answer.status_code == 200, answer.text
        until(lambda: len(ear.heard.get(f"{site['code']}/x", [])) == 20, "all of them")

    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    assert len({answer.json()["command_id"] for answer in answers}) == 1
    body = answers[0].json()
    assert body["success"] is True
    assert body["message"] == "Message published successfully"
    assert body["puback_ms"] > 0
    assert ear.heard[topic] == [SECRET.encode()]
    assert ear.heard[f"{site['code']}/x"][3] == b'{"n":3}'
    with Peer(broker.port) as later:  # nothing of it was retained
        later.subscribe(f"{site['code']}/#")
        until(lambda: later.heard, "the retained birth")
        assert list(later.heard) == [f"{site['code']}/backend/status"]
    assert statistics.median(took_ms) < 2_500  # idle 40, on a busy machine 180

    for process in system.processes.values():
        assert SECRET not in process.log.read_text(errors="replace")


def test_a_devices_answer_finds_its_command(system: System, broker: Broker) -> None:
    site = system.make_site("Answering", broker.port)
    system.connect(site)
    device = "gateway/g/datalogger/t/1"
    with Peer(broker.port) as ear:
        asked = [
            publish(system, site, f"{device}/input", reply_timeout_s=60).json()
            for _ in range(2)
        ]
        ear.publish(f"{site['code']}/{device}/output", b"running \0")

        first, second = [
            f"mqtt/sites/{site['id']}/commands/{one['command_id']}/" for one in asked
        ]
        seen = until(lambda: _answered(system, first), "the answer")

    assert seen["reply"] == "running \\x00"
    assert seen["replied_at"] <= seen["reply_until"]
    assert system.call("GET", second)["state"] == "delivered"


def _answered(system: System, path: str) -> dict[str, Any] | None:
    seen = dict(system.call("GET", path))
    return seen if seen["state"] == "answered" else None


def test_a_stopped_site_says_so_at_once(system: System, broker: Broker) -> None:
    site = system.make_site("Mute", broker.port)
    system.connect(site)
    system.stop_site(site)
    system.wait_status(site, "disconnected")

    started = time.monotonic()
    answer = publish(system, site, "x")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_connected")
    assert time.monotonic() - started < 4.5  # it did not wait for a worker, 5 s


def test_a_worker_killed_before_the_puback_leaves_no_second_message(
    system: System,
) -> None:
    with FakeBroker() as fake, ThreadPoolExecutor(1) as pool:
        site = system.make_site("Cut short", fake.port)
        system.connect(site)
        topic = f"{site['code']}/x"
        fake.withheld.add(topic)

        asked = pool.submit(publish, system, site, "x", key="k")
        until(lambda: topic in fake.published, "the broker has it")
        system.processes["mqtt0"].kill()
        system.processes["mqtt0"].start()
        answer = asked.result()
        rows = system.sql(
            "SELECT state FROM sites_command WHERE site_id = %s", site["id"]
        )
        fake.wait_connects(2)
        system.wait_status(site, "connected")

        assert (answer.status_code, answer.json()["code"]) == (504, "no_puback")
        assert rows == [("sent",)]  # nobody knows; the sweep calls it no_puback
        assert fake.published.count(topic) == 1
        system.stop_site(site)
        system.wait_status(site, "disconnected")


def test_a_broker_that_does_not_confirm_is_told_within_seconds(system: System) -> None:
    with FakeBroker() as fake:
        site = system.make_site("Unconfirmed", fake.port)
        system.connect(site)
        fake.withheld.add(f"{site['code']}/x")

        started = time.monotonic()
        answer = publish(system, site, "x")

        assert (answer.status_code, answer.json()["code"]) == (504, "no_puback")
        assert 4.5 < time.monotonic() - started < 15
        rows = "SELECT state, payload FROM sites_command WHERE site_id = %s"
        until(
            lambda: system.sql(rows, site["id"]) == [("no_puback", None)],
            "the worker has written it down",
        )
        system.stop_site(site)
        system.wait_status(site, "disconnected")
