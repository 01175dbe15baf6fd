"""The pages of a datalogger and of a sensor: charts of what a broker carried."""

from __future__ import annotations

import re
import time
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser import MEASURE_SHIFTS, PHONE, total_shift
from tests.mqtt import Peer
from tests.system import until

pytestmark = pytest.mark.system

NO_SHIFT = 0.001
UNITS = {"temp": "°C"}
BASE = "gateway/gw7/datalogger/monstro/15"
# How many pixels of the chart have the colour of the first line.
COLOURED = """
() => {
  const canvas = document.querySelector("#chart canvas");
  if (!canvas) return 0;
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = "var(--series-1)";
  const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
  probe.remove();
  const copy = document.createElement("canvas");
  Object.assign(copy, { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, copy.width, copy.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    count += wanted.every((part, place) => Math.abs(data[at + place] - part) < 48);
  }
  return count;
}
"""


@pytest.fixture(scope="module")
def device(system, broker):
    """A datalogger with a temperature, a door and a text, and a day behind it."""
    site = system.make_site("Browser charts", broker.port)
    system.call("PATCH", f"sites/{site['id']}/", json={"timezone": "Europe/Rome"})
    system.connect(site)
    topic = f"{site['code']}/{BASE}"
    with Peer(broker.port) as peer:
        peer.subscribe(f"{topic}/input")

        def say(value, *, at=None, **more):
            readings = [
                {"id": key, "value": value, "type": key, "unit": UNITS.get(key, "")}
                for key, value in {"temp": value, **more}.items()
            ]
            body = {"v": 2, "ts": at or time.time(), "readings": readings}
            peer.publish(f"{topic}/data", body)

        now = time.time()
        for hours in (20, 19, 18, 2, 1):
            say(10 + hours, at=now - hours * 3600)
        for minute in range(30, 0, -1):
            state = "off" if minute > 9 else "on"
            say(minute / 10, at=now - minute * 60, state=state, door=minute <= 20)
        say(1, door=True, state="on")
        peer.publish(f"{topic}/heartbeat", {"serial": "M-1", "label": "Logger A"})

        def known():
            rows = system.sql(
                "SELECT s.key, s.id, d.id, d.label FROM devices_sensordevice s "
                "JOIN devices_datalogger d ON d.id = s.datalogger_id "
                "WHERE d.site_id = %s AND s.current_at IS NOT NULL",
                site["id"],
            )
            return rows if len(rows) == 3 and rows[0][3] else None

        rows = until(known, "three sensors")
        until(lambda: len(system.values_of(site, "temp")) == 36, "all values")
        yield {
            "site": site,
            "topic": topic,
            "peer": peer,
            "say": say,
            "id": rows[0][2],
            **{key: number for key, number, *_ in rows},
        }


def test_a_chart_draws_what_was_published_and_grows_live(device, page):
    page.add_init_script(MEASURE_SHIFTS)
    device["say"](1)  # it may have fallen silent meanwhile
    page.goto(f"/sensors/{device['temp']}/?range=1h")
    expect(page.locator("#live [data-slot=presence]")).to_have_text("online")
    readout, value = page.locator("#readout"), page.locator("#live [data-slot=value]")
    expect(readout).to_contain_text("temp")  # the newest value, whoever published it
    until(lambda: page.evaluate(COLOURED) > 100, "a line")
    expect(page.locator("#steps")).to_have_text("every reading")
    expect(page.locator("#chart")).to_have_attribute(
        "aria-label",
        re.compile("temp: lowest [0-9.]+ °C, highest [0-9.]+ °C, last [0-9.]+ °C"),
    )
    page.wait_for_timeout(2500)  # its own refetch, as after every change
    page.evaluate("window.shifts.length = 0")

    device["say"](2.25)  # within the scale: longer labels would need more room

    expect(value).to_have_text("2.25")
    expect(readout).to_contain_text("temp 2.25")
    expect(readout).to_contain_text(re.compile("CET|CEST"))
    page.wait_for_timeout(6000)  # the range has moved on, and the scale with it
    assert total_shift(page) < NO_SHIFT


def test_a_page_that_loads_slowly_does_not_run_behind_the_server(device, page):
    """Its newest values would lie beyond the end of their chart."""

    def late(route):
        time.sleep(4)
        route.continue_()

    page.route("**/clock.js", late)
    page.goto(f"/sensors/{device['temp']}/?range=1h")
    expect(page.locator("#chart canvas")).to_be_visible()

    lag_s = page.evaluate(
        """async () => {
          const { src } = document.querySelector("script[src$='/bell.js']");
          const { serverNow } = await import(new URL("clock.js", src));
          return (Date.now() - serverNow()) / 1000;
        }"""
    )
    assert abs(lag_s) < 3


def test_ranges_intervals_zoom_and_the_file(device, page):
    page.goto(f"/sensors/{device['temp']}/?range=24h")
    expect(page.locator("#readout")).to_contain_text("temp")
    steps = page.locator("#steps")
    expect(steps).to_have_text("values of 5 minutes each")

    page.click("button[value='7d']")
    expect(steps).to_have_text("values of 15 minutes each")
    page.select_option("select[name=interval]", "1h")
    page.select_option("select[name=agg]", "max")
    expect(steps).to_have_text("values of 1 hour each")
    assert re.search(r"interval=1h&agg=max&range=7d$", page.url)

    expect(page.locator("#csv")).to_have_attribute("href", re.compile("agg=max"))
    with page.expect_download() as download:
        page.click("#csv")
    lines = download.value.path().read_text().split()
    assert lines[0] == "at,value"
    assert any(line.endswith(",30.0") for line in lines)

    page.select_option("select[name=interval]", "auto")
    page.select_option("select[name=agg]", "avg")
    expect(page.locator("#csv")).to_have_attribute("href", re.compile("agg=avg"))
    expect(steps).to_have_text("values of 15 minutes each")
    page.locator("#chart").scroll_into_view_if_needed()
    box = page.locator("#chart .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.97, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.999, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(steps).to_have_text("every reading")
    assert "range=custom&from=" in page.url
    page.click("#reset")
    expect(steps).to_have_text("values of 15 minutes each")

    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    expect(page.locator("#reset")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#reset")).to_be_hidden()

    page.click("#values summary")
    expect(page.locator("#values thead")).to_contain_text("average")
    expect(page.locator("#values tbody tr").last).to_contain_text("30")


def test_a_text_is_a_list_of_its_changes(device, page):
    page.goto(f"/sensors/{device['state']}/?range=24h")

    rows = page.locator("#values tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("on")
    expect(rows.first).to_contain_text("until now")
    expect(rows.last).to_contain_text("off")
    expect(page.locator("#chart-note")).to_be_hidden()
    expect(page.locator("#older")).to_be_hidden()


def test_the_changes_of_a_long_time_come_a_hundred_at_a_time(device, system, page):
    start = time.time() - 5 * 86_400
    samples = [
        {"ts": start + n, "values": {"state": word}}
        for n, word in enumerate(["a", "b"] * 75)
    ]
    device["peer"].publish(f"{device['topic']}/data", samples)
    count = "SELECT count(*) FROM telemetry_reading WHERE sensor_id = %s AND text = 'b'"
    until(lambda: system.sql(count, device["state"])[0][0] == 75, "the texts")

    page.goto(f"/sensors/{device['state']}/?range=7d")
    rows = page.locator("#values tbody tr")
    expect(rows).to_have_count(100)
    expect(rows.first).to_contain_text("on")
    page.get_by_role("button", name="Show older changes").click()

    expect(rows).to_have_count(152)
    expect(rows.last).to_contain_text("a")
    expect(page.locator("#older")).to_be_hidden()


def test_two_fingers_stretch_the_chart_and_one_moves_it(device, new_page, cookies):
    page = new_page(storage_state=cookies, viewport=PHONE, has_touch=True)
    page.goto(f"/sensors/{device['temp']}/?range=24h")
    until(lambda: page.evaluate(COLOURED) > 20, "a line")
    page.locator("#chart").scroll_into_view_if_needed()
    area = page.locator("#chart .u-over").bounding_box()
    y, left = area["y"] + area["height"] / 2, area["x"]
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *shares):
        points = [
            {"x": left + share * area["width"], "y": y, "id": number}
            for number, share in enumerate(shares)
        ]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def hours():
        query = parse_qs(urlsplit(page.evaluate("location.href")).query)
        moments = [datetime.fromisoformat(query[name][0]) for name in ("from", "to")]
        return moments[0], (moments[1] - moments[0]).total_seconds() / 3600

    fingers("touchStart", 0.15, 0.35)
    for step in range(1, 6):
        fingers("touchMove", 0.15 - step * 0.01, 0.35 + step * 0.11)
    fingers("touchEnd")
    page.wait_for_url(re.compile("range=custom"))
    before, stretched = hours()
    expect(page.locator("#chart-note")).to_be_hidden()
    fingers("touchStart", 0.3)
    for step in range(1, 6):
        fingers("touchMove", 0.3 + step * 0.1)
    fingers("touchEnd")
    until(lambda: hours()[0] < before, "an earlier range")

    assert stretched == pytest.approx(24 * 0.2 / 0.8, rel=0.1)
    assert hours()[1] == pytest.approx(stretched, rel=0.01)
    page.get_by_role("button", name="Reset zoom").click()
    page.wait_for_url(re.compile("range=24h"))


def test_a_failed_question_says_so_and_can_be_asked_again(device, page, problems):
    problems.expect("500")
    answers = [500]
    page.route(
        "**/readings/**",
        lambda route: (
            route.fulfill(status=answers.pop()) if answers else route.continue_()
        ),
    )
    page.goto(f"/sensors/{device['temp']}/")
    note = page.locator("#chart-note")
    expect(note).to_contain_text("could not be loaded")

    note.get_by_role("button", name="Try again").click()

    expect(note).to_be_hidden()
    expect(page.locator("#readout")).to_contain_text("temp")


def test_a_datalogger_shows_values_history_and_takes_a_command(device, page, problems):
    problems.expect("400")  # of the setting that is refused
    page.goto(f"/dataloggers/{device['id']}/")
    expect(page.locator("h1")).to_contain_text("Logger A")
    expect(page.locator("#readout")).to_contain_text("temp")
    page.get_by_role("checkbox", name="door").check()
    expect(page.locator("#readout")).to_contain_text("door yes")
    device["say"](7.25, door=False)
    expect(page.locator(".sensor-card", has_text="temp").locator("b")).to_have_text(
        "7.25"
    )
    expect(page.locator(".sensor-card", has_text="door").locator("b")).to_have_text(
        "no"
    )

    page.fill("#message", "start")
    page.click("#send button")
    result = page.locator("#send .result")
    expect(result).to_contain_text("The broker has it")
    heard = device["peer"].heard
    until(lambda: heard.get(f"{device['topic']}/input") == [b"start"], "the command")
    device["peer"].publish(f"{device['topic']}/output", "started <b>")
    expect(result).to_contain_text("The device answered: started <b>")
    ledger = page.locator("[data-command]").first
    expect(ledger).to_contain_text("the device has answered")
    expect(ledger).to_contain_text("started <b>")

    page.fill("#label", "Logger <B>")
    page.fill("#offline", "0")
    page.evaluate("document.getElementById('offline').removeAttribute('min')")
    page.click("[data-patch] button")
    expect(page.locator("[data-patch] .result")).to_have_class(re.compile("tone-red"))
    page.fill("#offline", "300")
    page.click("[data-patch] button")
    expect(page.locator("h1")).to_contain_text("Logger <B>")
    expect(page.locator(".device .facts")).to_contain_text("5 min")


def test_a_phone_in_italian_and_dark_shows_it_all(device, new_page, cookies):
    page = new_page(
        storage_state=cookies,
        viewport=PHONE,
        locale="it-IT",
        color_scheme="dark",
        timezone_id="America/New_York",
    )
    for path in (f"/dataloggers/{device['id']}/", f"/sensors/{device['temp']}/"):
        page.goto(f"{path}?range=1h")
        expect(page.locator("#readout")).to_contain_text("la tua ora")
        until(lambda: page.evaluate(COLOURED) > 20, "a line")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.set_viewport_size({"width": 740, "height": 360})  # turned round
    canvas = page.locator("#chart canvas")
    until(lambda: canvas.bounding_box()["width"] > 500, "a wider chart")
