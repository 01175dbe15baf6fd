"""The pages of a site in a real browser, with a real broker behind them."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser import PHONE, row
from tests.mqtt import Peer
from tests.system import until

pytestmark = pytest.mark.system

MARKUP = "<img src=x onerror=alert(1)>&\"'"


@pytest.fixture
def peer(broker):
    with Peer(broker.port) as peer:
        yield peer


@pytest.fixture
def site(system, broker, request):
    site = system.make_site(f"Browser {request.node.name[:60]}", broker.port)
    system.connect(site)
    return site


def toast(page):
    return page.locator("#toasts .toast")


def test_a_discovered_topic_becomes_a_sensor(system, site, peer, page):
    topic, strange = f"{site['code']}/zigbee/kitchen", f"{site['code']}/{MARKUP[1:]}"
    page.goto(f"/sites/{site['id']}/topics/")

    page.get_by_role("button", name="Listen", exact=True).click()

    expect(page.locator("[data-slot=session-state]")).to_have_text("listening")
    peer.publish(strange, MARKUP)
    peer.publish(topic, {"temperature": 21.5, "humidity": 48})
    found = page.locator(".topic", has_text=topic)
    expect(found).to_contain_text('{"temperature": 21.5')
    expect(page.locator(".topic code", has_text=strange)).to_be_visible()

    found.get_by_role("link", name="Accept…").press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.locator("[name=use-0]").check()
    dialog.locator("[name=label-0]").fill("Kitchen")
    dialog.locator("[name=scale-0]").fill("2")
    expect(dialog.locator("#preview tbody")).to_contain_text("43")
    dialog.get_by_role("button", name="Accept the topic").click()
    expect(dialog.locator("[aria-invalid=true]").first).to_be_visible()  # whose?
    expect(dialog.locator("[name=label-0]")).to_have_value("Kitchen")
    dialog.locator("[name=new_type]").fill("zigbee")
    dialog.locator("[name=new_number]").fill("k1")
    dialog.get_by_role("button", name="Accept the topic").click()

    expect(dialog).to_be_hidden()
    expect(found.locator(".state")).to_have_text("accepted")
    until(lambda: system.status(site)["status"] == "connected", "its new filter")
    page.get_by_role("button", name="Stop listening").click()
    expect(page.locator("[data-slot=session-state]")).to_have_text("finished")
    page.goto(f"/sites/{site['id']}/")
    value = page.locator(".sensor", has_text="Kitchen").locator("[data-slot=value]")

    def say():
        peer.publish(topic, {"temperature": 10})
        return value.count() > 0 and value.text_content() == "20"

    until(say, "the reading, scaled", every_s=0.3)
    assert page.locator("img[src=x]").count() == 0


def test_a_message_is_published_and_answered(site, peer, page):
    device = f"{site['code']}/gateway/g/datalogger/a/1"
    peer.subscribe(f"{device}/input")
    page.goto(f"/sites/{site['id']}/commands/")
    page.locator("#topic").fill("else#")
    page.locator("#message").fill(MARKUP)
    publish = page.get_by_role("button", name="Publish", exact=True)

    publish.click()

    expect(page.locator("#topic-error")).to_contain_text("are for filters")
    expect(page.locator("#message")).to_have_value(MARKUP)
    page.locator("#topic").fill("gateway/g/datalogger/a/1/input")
    page.locator("#reply").select_option("30")
    publish.click()
    expect(page.locator("#sent")).to_contain_text("PUBACK")
    expect(page.locator("#topic-error")).to_have_count(0)
    until(lambda: peer.heard.get(f"{device}/input"), "the message")
    assert peer.heard[f"{device}/input"] == [MARKUP.encode()]
    peer.publish(f"{device}/output", "done " + MARKUP)
    expect(page.locator("#sent")).to_contain_text("done " + MARKUP)
    expect(page.locator("#commands")).to_contain_text("the device has answered")


def test_settings_are_tried_before_they_are_saved(system, site, own_broker, page):
    page.goto(f"/sites/{site['id']}/connection/")
    port = page.get_by_label("Broker port")
    port.fill("1")
    page.get_by_label("Password", exact=True).fill("secret")

    page.get_by_role("button", name="Test before saving").click()

    trial = page.locator("#trial")
    expect(trial).to_contain_text("The connection does not work")
    expect(trial.locator("li", has_text="nothing listens on port 1")).to_be_visible()
    port.fill("99999")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#id_broker_port_error")).to_be_visible()
    expect(page.get_by_label("Password", exact=True)).to_have_value("secret")
    expect(port).to_be_focused()
    port.fill(str(own_broker.port))
    page.get_by_role("button", name="Add a filter").click()
    page.keyboard.type("extra/+")
    page.get_by_role("button", name="Test before saving").click()
    expect(trial).to_contain_text("The connection works")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(toast(page)).to_contain_text("changes to the new settings")
    expect(page.locator("#id_password_helptext")).to_contain_text("One is stored")
    expect(page.get_by_label("Password", exact=True)).to_have_value("")
    expect(page.locator("[value='extra/+']")).to_be_visible()
    expect(page.get_by_role("button", name="Add a filter")).to_be_visible()

    def has_moved():
        status = system.status(site)
        is_there = status["broker_port"] == own_broker.port
        return is_there and status["status"] == "connected"

    until(has_moved, "the other broker")
    system.stop_site(site)
    system.wait_status(site, "disconnected")


def test_the_quarantine_is_read_again(system, site, peer, page):
    code = site["code"]
    peer.publish(f"{code}/datalogger/a/1/data", {"v": 77, "t": 5})
    peer.publish(f"{code}/datalogger/a/1/data", MARKUP)
    page.goto(f"/sites/{site['id']}/quarantine/")
    messages = page.locator(".quarantined")
    expect(messages).to_have_count(2, timeout=40_000)
    expect(messages.filter(has_text=MARKUP)).to_be_visible()
    opener = page.get_by_role("link", name="Mapping for version 77")
    opener.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("checkbox", name="$.t").check()
    expect(dialog.locator("#preview tbody")).to_contain_text("5")
    dialog.get_by_role("checkbox", name="Then read").uncheck()
    dialog.get_by_role("button", name="Save the mapping").click()
    expect(toast(page)).to_contain_text("Saved: messages of this version")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()

    messages.filter(has_text="unknown protocol version").get_by_role("checkbox").check()
    page.get_by_role("button", name="Read the chosen ones again").click()

    expect(toast(page)).to_contain_text("1 understood and stored, 0 still not")
    expect(messages).to_have_count(1)
    assert system.values_of(site, "t") == [5]
    assert page.locator("img[src=x]").count() == 0


def test_messages_run_by_and_can_be_held(site, peer, page):
    data = f"{site['code']}/datalogger/a/1/data"
    page.goto(f"/sites/{site['id']}/messages/")
    rows = page.locator("#tail-list li[data-became]")

    def say(**values):
        peer.publish(data, {"values": values})
        return rows.count() > 0

    until(lambda: say(first=1), "the first message", every_s=0.3)
    peer.publish(data, MARKUP)
    expect(rows.filter(has_text=MARKUP)).to_contain_text("quarantined")
    page.get_by_role("button", name="Pause").click()
    before = rows.count()
    say(held=1)
    expect(page.locator("#tail-count")).to_contain_text("new")
    assert rows.count() == before
    page.get_by_role("button", name="Go on").click()
    expect(rows.filter(has_text="held")).to_be_visible()
    page.locator("#tail-q").fill("held")
    expect(rows.filter(has_text="first").first).to_be_hidden()
    expect(rows.filter(has_text="held")).to_be_visible()
    page.locator("#tail-q").fill("")
    page.locator("#tail-became").select_option("quarantined")
    expect(rows.filter(visible=True)).to_have_count(1)
    assert page.locator("img[src=x]").count() == 0


def test_a_site_is_made_tested_and_started_by_hand(system, broker, page):
    page.goto("/sites/new/")
    page.get_by_label("Name").fill("By hand " + MARKUP)
    page.get_by_label("Time zone").fill("Mars/Base")
    page.get_by_role("button", name="Create the site").click()
    expect(page.locator("#id_timezone_error")).to_be_visible()
    page.get_by_label("Time zone").fill("Europe/Rome")
    page.get_by_role("button", name="Create the site").click()

    page.wait_for_url(re.compile(r"/sites/\d+/connection/"))
    page.get_by_label("Broker host").fill("127.0.0.1")
    page.get_by_label("Broker port").fill(str(broker.port))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(toast(page)).to_contain_text("Saved")
    start = page.locator("[data-action=start]")
    expect(start).to_be_enabled()
    start.click()
    site = {"id": int(page.url.split("/")[-3])}
    badge = row(page, site).locator("[data-slot=badge]")
    expect(badge).to_have_class(re.compile("tone-green"))
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#trial")).to_contain_text("The connection works")
    expect(page.locator("#trial li")).to_have_count(6)
    page.wait_for_timeout(2500)  # a refetch leaves the result alone
    expect(page.locator("#trial li")).to_have_count(6)


def test_a_form_pressed_before_its_script_is_there_leaves_a_living_page(site, page):
    page.goto(f"/sites/{site['id']}/")

    with page.expect_navigation():
        form = page.locator("form[action$='/test/']")
        form.evaluate("form => HTMLFormElement.prototype.submit.call(form)")

    expect(page.locator("#trial")).to_contain_text("The connection works")
    expect(page).to_have_url(re.compile(f"/sites/{site['id']}/$"))
    page.locator("[data-action=stop]").click()
    expect(row(page, site).locator("[data-slot=badge]")).to_have_text(
        "MQTT disconnected"
    )
    page.wait_for_timeout(2500)  # a refetch leaves the result alone
    expect(page.locator("#trial li")).to_have_count(6)
    page.reload()
    expect(page.locator("#trial li")).to_have_count(0)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_of_a_site_is_wider_than_a_phone(site, peer, new_page, cookies, scheme):
    peer.publish(f"{site['code']}/{'x' * 200}", json.dumps({"y" * 300: "z" * 3_000}))
    page = new_page(
        storage_state=cookies, viewport=PHONE, locale="it-IT", color_scheme=scheme
    )

    for tab in ("", "topics/", "messages/", "quarantine/", "commands/", "connection/"):
        page.goto(f"/sites/{site['id']}/{tab}")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], tab
