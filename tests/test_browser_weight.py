"""What a first visit costs: everything compressed, and nothing asked for twice."""

from __future__ import annotations

import re
from collections import Counter

import httpx
import pytest

from tests.devtools import received
from tests.mqtt import Peer
from tests.system import PATIENCE_S, until

pytestmark = pytest.mark.system

MOST_BYTES = 100_000
GZIP = {"Accept-Encoding": "gzip"}
LATER = ("Fetch", "EventSource")  # what the page's scripts ask for


@pytest.fixture(scope="module")
def pages(system, broker):
    """A site with a value, so that there is a chart; the addresses of its pages."""
    site = system.make_site("Weight", broker.port)
    system.connect(site)
    with Peer(broker.port) as peer:
        peer.publish(f"{site['code']}/datalogger/a/1/data", {"values": {"temp": 21.5}})
        until(lambda: system.values_of(site, "temp"), "a value")
    [(sensor, datalogger)] = system.sql(
        "SELECT s.id, d.id FROM devices_sensordevice s JOIN devices_datalogger d"
        " ON d.id = s.datalogger_id WHERE d.site_id = %s",
        site["id"],
    )
    return {
        "overview": "/",
        "site": f"/sites/{site['id']}/",
        "topics": f"/sites/{site['id']}/topics/",
        "datalogger": f"/dataloggers/{datalogger}/",
        "sensor": f"/sensors/{sensor}/",
    }


def visit(page, path, sizes):
    """Return the bytes that came until the page was complete, by what they are."""
    sizes.clear()
    page.goto(path)  # until its scripts have run
    page.wait_for_function("document.readyState === 'complete'")
    kinds: Counter[str] = Counter()
    for kind, size in sizes:
        kinds[kind] += size
    return {kind: size for kind, size in kinds.items() if kind not in LATER}


def test_the_login_is_light(new_page):
    page = new_page()

    first = visit(page, "/login/", received(page))

    assert {"Document", "Stylesheet"} <= set(first)
    assert sum(first.values()) < MOST_BYTES, first


@pytest.mark.parametrize("name", ["overview", "site", "topics", "datalogger", "sensor"])
def test_a_first_visit_is_light_and_a_second_one_asks_for_the_page_alone(
    page, pages, name
):
    sizes = received(page)

    first = visit(page, pages[name], sizes)
    second = visit(page, pages[name], sizes)

    assert {"Document", "Stylesheet", "Script"} <= set(first)
    assert sum(first.values()) < MOST_BYTES, first
    assert sum(second.values()) == second["Document"], second


def test_the_server_compresses_all_but_streams(system):
    with httpx.Client(base_url=system.url, headers=GZIP, timeout=PATIENCE_S) as client:
        login = client.get("/login/")
        assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', login.text)
        answers = [client.get(asset) for asset in assets]
        with client.stream("GET", "/events/status/", headers=system.bearer) as stream:
            first = next(stream.iter_raw())

    assert login.headers["Content-Encoding"] == "gzip"
    assert len(answers) > 3
    for answer in answers:
        assert answer.headers["Content-Encoding"] == "gzip", answer.url
        assert "immutable" in answer.headers["Cache-Control"], answer.url
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert "Content-Encoding" not in stream.headers
    assert first.startswith(b"retry: ")
