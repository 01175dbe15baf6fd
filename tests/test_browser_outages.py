"""What a page does while something behind it is gone, and after that."""

from __future__ import annotations

import os
import re
import signal
from itertools import count

import pytest
from playwright.sync_api import expect

from embedded import proc
from embedded.postgres import Postgres
from tests.browser import MEASURE_SHIFTS, row, total_shift
from tests.mqtt import Peer
from tests.system import System, until

pytestmark = pytest.mark.system

NO_SHIFT = 0.001
OUTAGE_MS = 10_000
NOISE = "Failed to load resource|ERR_|refresh failed"
AWAY = re.compile("is-away")
EVENT = 'data-key="event-'  # in the HTML of a row of the timeline


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    server = Postgres(tmp_path_factory.mktemp("postgres"), fsync=False)
    server.start(timeout_s=60)
    yield server
    server.stop()
    server.remove_data()


@pytest.fixture(scope="module")
def system(tmp_path_factory, postgres):
    """A system that may lose anything: its own PostgreSQL as well."""
    folder = tmp_path_factory.mktemp("harmed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", postgres.url)
        with System(folder, workers={"mqtt0": "mqtt.shard.0,mqtt.shard.1"}) as running:
            yield running


@pytest.fixture(scope="module")
def device(system, broker):
    """A site whose only sensor says the next number whenever it is asked to."""
    site = system.make_site("Browser outages", broker.port)
    system.connect(site)
    numbers = count(1)
    with Peer(broker.port) as peer:

        def say():
            value = next(numbers)
            topic = f"{site['code']}/datalogger/a/1/data"
            peer.publish(topic, {"values": {"n": value}})
            return str(value)

        first = float(say())
        until(lambda: system.values_of(site) == [first], "the sensor")
        yield site, say


@pytest.fixture
def open_page(device, page, problems):
    """The site's page, whose value is known to be live."""
    problems.expect(NOISE)
    site, say = device
    page.add_init_script(MEASURE_SHIFTS)
    page.goto(f"/sites/{site['id']}/")
    page.evaluate("window.isSamePage = true")
    value = page.locator(".sensor [data-slot=value]")
    expect(value).to_have_text(say())
    expect(page.locator("#banner")).to_be_hidden()
    page.wait_for_timeout(2500)  # its own refetch, as after every change
    page.evaluate("(key) => { window.eventThen = key; }", newest_event(page))
    page.evaluate("window.shifts.length = 0")
    return page


def assert_it_says_so(page):
    expect(page.locator("#banner")).to_be_visible()
    expect(page.locator("html")).to_have_class(AWAY)


def press_stop_in_vain(page, site, told):
    place = row(page, site)
    place.locator("[data-action=stop]").click()
    expect(page.locator(".toast")).to_contain_text(told)
    # What was not done is not shown as done, and can be asked for again.
    expect(place.locator("[data-slot=badge]")).to_have_text("MQTT connected")
    expect(place.locator("[data-action=stop]")).to_be_enabled()


def assert_it_is_back(page, value, last):
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("html")).not_to_have_class(AWAY)
    expect(value).to_have_text(last)
    assert page.evaluate("window.isSamePage") is True
    # The banner pushes nothing away. Only if something happened to the link meanwhile
    # do the rows of the timeline make room for the news.
    all_of_it, but_news = total_shift(page), total_shift(page, but=EVENT)
    has_news = newest_event(page) != page.evaluate("window.eventThen")
    assert (but_news if has_news else all_of_it) < NO_SHIFT


def newest_event(page):
    return page.locator("[data-key^=event-]").first.get_attribute("data-key")


def test_ten_seconds_without_valkey(system, device, open_page):
    _site, say = device
    value = open_page.locator(".sensor [data-slot=value]")

    system.valkey.stop()
    assert_it_says_so(open_page)
    last = say()
    open_page.wait_for_timeout(OUTAGE_MS)
    system.valkey.start()

    assert_it_is_back(open_page, value, last)
    expect(value).to_have_text(say())  # and it is live again


def test_a_start_that_nobody_obeys_is_not_shown_as_done(system, broker, page, problems):
    problems.expect("refresh failed")  # a fetch under way while the clock jumps
    site = system.make_site("Browser patience", broker.port)
    page.clock.install()
    page.goto("/")
    place = row(page, site)
    badge, slow = (place.locator(f"[data-slot={name}]") for name in ("badge", "slow"))
    worker = system.processes["mqtt0"].pid

    proc.freeze([worker])
    try:
        place.locator("[data-action=start]").click()
        expect(badge).to_have_text("Connecting...")
        # The server has taken it: what is under way when the clock jumps is given up.
        expect(place).not_to_have_attribute("data-busy", "")
        expect(slow).to_be_hidden()
        page.clock.fast_forward(36_000)
        expect(slow).to_have_text("No answer for 35 s. Is a worker running?")
        expect(badge).to_have_text("Connecting...")
        expect(place.locator("[data-action=start]")).to_be_enabled()  # once more?
    finally:
        os.kill(worker, signal.SIGCONT)

    expect(badge).to_have_text("MQTT connected")
    expect(slow).to_be_hidden()


def test_a_web_process_that_ends_and_returns(system, device, open_page):
    site, say = device
    value = open_page.locator(".sensor [data-slot=value]")

    system.processes["web"].kill()
    assert_it_says_so(open_page)
    press_stop_in_vain(open_page, site, "did not answer")
    last = say()
    system.processes["web"].start()
    until(system.is_up, "the web answers", 120)  # else the page looks more rarely

    assert_it_is_back(open_page, value, last)
    expect(value).to_have_text(say())


def test_ten_seconds_without_postgresql(postgres, device, open_page):
    site, say = device
    value = open_page.locator(".sensor [data-slot=value]")

    postgres.stop()
    last = say()
    press_stop_in_vain(open_page, site, "did not work")
    assert_it_says_so(open_page)
    open_page.wait_for_timeout(OUTAGE_MS)
    expect(value).not_to_have_text(last)  # nothing is shown that is not stored
    postgres.start(timeout_s=60)

    assert_it_is_back(open_page, value, last)
    expect(value).to_have_text(say())
