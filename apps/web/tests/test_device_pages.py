"""The pages of a datalogger and of a sensor, as the server writes them."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.translations import read_po
from apps.devices.models import Datalogger, PresencePeriod, SensorDevice
from apps.sites.models import Command, CommandState, MqttConnection, Site
from apps.telemetry.tests.histories import store
from apps.web.tests.conftest import MARKUP, make_devices
from apps.web.tests.pages import page_of
from apps.web.tests.test_italian import CATALOG


@pytest.fixture
def row(connected) -> Datalogger:
    made: list[Datalogger] = make_devices(connected, dataloggers=1, sensors=3)
    return made[0]


def of(row: Datalogger) -> str:
    return f"/dataloggers/{row.pk}/"


def of_sensor(row: Datalogger) -> str:
    return f"/sensors/{row.sensors.all()[0].pk}/"


def both(row: Datalogger) -> tuple[str, str]:
    return of(row), of_sensor(row)


def command(row, topic, *, state=CommandState.DELIVERED, **fields) -> Command:
    return Command.objects.create(
        site=row.site,
        username="ada",
        topic=topic,
        payload_size=1,
        state=state,
        expires_at=timezone.now(),
        **fields,
    )


def test_a_stranger_is_sent_to_the_login(client, row):
    for path in both(row):
        assert client.get(path).url == f"/login/?next={path}"


@pytest.mark.parametrize("number", [0, 999_999, 10**30])
@pytest.mark.parametrize("kind", ["dataloggers", "sensors"])
def test_it_knows_nothing_of_another_number(client, superuser, kind, number):
    client.force_login(superuser)

    assert client.get(f"/{kind}/{number}/").status_code == 404


def test_devices_of_a_hidden_site_are_not_there_for_others(client, hidden, outsider):
    row = make_devices(hidden)[0]
    client.force_login(outsider)

    for path in both(row):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("person", ["superuser", "operator", "viewer"])
def test_they_are_valid_pages_without_anything_inline(client, row, person, request):
    client.force_login(request.getfixturevalue(person))
    row.sensors.filter(key="s1").update(current_value=None, current_text=MARKUP)

    for path in both(row):
        page = page_of(client.get(path))
        html = client.get(path).content.decode()

        assert page.problems == []
        assert "<img src=x" not in html
        assert [tag for tag, _ in page.elements].count("h1") == 1


def test_it_says_what_is_known_of_a_device(client, row, viewer):
    Datalogger.objects.update(
        presence="offline",
        offline_cause="silence",
        serial_number="MONSTR-001",
        interval_s=60,
        rssi=-67,
        battery=3.9,
        gateway=row.site.gateways.get(),
        uptime_s=90_000,
    )
    client.force_login(viewer)

    page = page_of(client.get(of(row)))

    assert {"offline", "silent for longer than it promised"} <= set(page.texts)
    assert {"MONSTR-001", "-67 dBm", "3.9", "1 min", "1 min 30 s"} <= set(page.texts)
    assert "1 d 1 h" in page.texts
    assert "V.5.53.0" in page.texts


def test_it_draws_the_last_hour_of_a_value(client, row, viewer):
    sensor = row.sensors.first()
    now = timezone.now()
    store(sensor, [(now - timedelta(minutes=n), float(n)) for n in (3, 2, 1)])
    client.force_login(viewer)

    page = page_of(client.get(of(row)))

    paths = [found["d"] for found in page.with_attribute("d") if found["d"][:1] == "M"]
    curves = [path for path in paths if path.count("L") == 2]
    assert len(curves) == 1


def test_it_tells_uptime_and_outages_with_their_causes(client, row, viewer):
    now = timezone.now()
    Site.objects.update(timezone="Europe/Rome")
    for presence, start, end in (("online", 5, 3), ("offline", 3, 2), ("online", 2, 0)):
        PresencePeriod.objects.create(
            datalogger=row,
            presence=presence,
            cause="gateway" if presence == "offline" else "",
            started_at=now - timedelta(hours=start),
            ended_at=now - timedelta(hours=end) if end else None,
        )
    client.force_login(viewer)

    with time_machine.travel(now, tick=False):
        page = page_of(client.get(of(row)))

    assert "80 %" in page.texts
    assert "offline 1 h, unknown 19 h" in page.texts
    assert "its gateway is offline" in page.texts
    assert "1 h" in page.texts


def test_it_lists_the_commands_to_this_datalogger_alone(client, row, operator):
    code = row.site.code
    command(row, f"{code}/gateway/gw1/datalogger/monstro/0/input", reply=MARKUP)
    command(row, f"{code}/datalogger/monstro/0/input", state=CommandState.NO_PUBACK)
    command(row, f"{code}/gateway/gw1/datalogger/monstro/01/input", reply="of another")
    client.force_login(operator)

    page = page_of(client.get(of(row)))

    assert len(page.with_attribute("data-command")) == 2
    assert MARKUP in page.texts
    assert "the broker did not confirm it" in page.texts
    assert "of another" not in page.text


def test_people_see_what_they_may_do(client, row, superuser, operator, viewer):
    seen = {}
    for person in (superuser, operator, viewer):
        client.force_login(person)
        page = page_of(client.get(of(row)))
        seen[person.username] = (
            "Latest commands" in page.texts,
            bool(page.with_attribute("data-publish")),
            bool(page.with_attribute("data-patch")),
        )

    assert seen == {
        "superuser": (True, True, True),
        "operator": (True, False, False),
        "viewer": (False, False, False),
    }


def test_it_sends_commands_through_the_gateway_that_was_heard(client, row, superuser):
    Datalogger.objects.update(gateway=row.site.gateways.get())
    client.force_login(superuser)

    [topic] = page_of(client.get(of(row))).with_attribute("name", "topic")

    assert topic["value"] == f"{row.site.code}/gateway/gw1/datalogger/monstro/0/input"


def test_a_datalogger_without_sensors_says_so(client, connected, viewer):
    row = make_devices(connected, sensors=0)[0]
    client.force_login(viewer)

    page = page_of(client.get(of(row)))

    assert "No sensor yet. Each appears here with its first value." in page.texts
    assert "history" not in page.ids
    assert page.problems == []


def test_the_address_chooses_sensors_of_this_datalogger_alone(client, row, viewer):
    neighbour = Datalogger.objects.create(site=row.site, type="x", number="1")
    other = SensorDevice.objects.create(datalogger=neighbour, key="other")
    first, second, _ = row.sensors.all()
    client.force_login(viewer)

    asked = f"{of(row)}?s={second.pk}&s={other.pk}&s=nonsense&s=²"
    boxes = page_of(client.get(asked)).with_attribute("data-label")
    at_first = page_of(client.get(of(row))).with_attribute("data-label")

    assert [box["value"] for box in boxes if "checked" in box] == [str(second.pk)]
    checked = [box["value"] for box in at_first if "checked" in box]
    assert checked == [str(first.pk), str(second.pk)]


def test_the_csv_link_asks_for_what_the_page_shows(client, row, viewer):
    Site.objects.update(timezone="Europe/Rome")
    query = (
        "?range=custom&from=2026-11-20T08:00&to=2026-11-20T09:00Z&interval=1m&agg=max"
    )
    client.force_login(viewer)

    page = page_of(client.get(of_sensor(row) + query))

    [link] = page.with_attribute("id", "csv")
    assert "from=2026-11-20T07%3A00%3A00.000Z" in link["href"]
    assert "to=2026-11-20T09%3A00%3A00.000Z" in link["href"]
    assert link["href"].endswith("interval=1m&agg=max&format=csv")
    assert client.get(link["href"]).status_code == 200


def test_the_pages_are_italian(client, row, superuser):
    row.sensors.filter(key="s1").update(current_value=None, current_text="fermo")
    PresencePeriod.objects.create(
        datalogger=row,
        presence="offline",
        cause="will",
        started_at=timezone.now() - timedelta(hours=2),
    )
    command(row, f"{row.site.code}/datalogger/monstro/0/input", reason="no_puback")
    client.force_login(superuser)
    english = {key for key, text in read_po(CATALOG).items() if key != text}

    for path in both(row):
        page = page_of(client.get(path, headers={"accept-language": "it"}))

        assert set(page.texts) & english == set()
        assert "1.234,5" in page.texts


def test_they_need_the_same_queries_for_any_number_of_rows(client, row, superuser):
    def fill(count):
        row.sensors.all().delete()
        SensorDevice.objects.bulk_create(
            SensorDevice(datalogger=row, key=f"k{n}", current_value=n)
            for n in range(count)
        )
        for n in range(count):
            at = timezone.now() - timedelta(hours=2 * n + 2)
            PresencePeriod.objects.create(
                datalogger=row,
                presence="offline",
                started_at=at,
                ended_at=at + timedelta(minutes=5),
            )
            command(row, f"{row.site.code}/datalogger/monstro/0/input")

    def queries(path):
        with CaptureQueriesContext(connection) as asked:
            assert client.get(path).status_code == 200
        return len(asked)

    client.force_login(superuser)
    client.get(of(row))
    fill(1)
    few = [queries(path) for path in both(row)]
    fill(19)

    many = [queries(path) for path in both(row)]

    assert many == few
    assert max(many) <= 22


def test_they_say_why_there_is_nothing_new(client, row, viewer):
    MqttConnection.objects.update(status="error", reason="dns")
    client.force_login(viewer)

    for path in both(row):
        texts = page_of(client.get(path)).texts
        assert "MQTT error" in texts
