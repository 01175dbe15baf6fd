from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.devices.models import Datalogger, Gateway, SensorDevice
from apps.sites.models import MqttConnection, Site
from apps.sites.services import connection_configure, connection_stop, site_create
from project.demo import DEMO_SITES, PADUA
from workers.fleet.crew import Pace, crews_of

pytestmark = pytest.mark.django_db


def load(monkeypatch: pytest.MonkeyPatch, url: str = "mqtt://u:secret@h:2883") -> str:
    monkeypatch.setenv("MQTT_URL", url)
    out = StringIO()
    call_command("load_demo", stdout=out)
    return out.getvalue()


def connection(code: str = PADUA.code) -> MqttConnection:
    return MqttConnection.objects.get(site__code=code)


def test_it_makes_three_enabled_sites_with_devices(monkeypatch: pytest.MonkeyPatch):
    load(monkeypatch)

    codes = Site.objects.order_by("code").values_list("code", flat=True)
    assert list(codes) == ["site_001", "site_002", "site_003"]
    for row in MqttConnection.objects.all():
        assert row.is_enabled
        assert (row.broker_host, row.broker_port, row.username) == ("h", 2883, "u")
        assert row.read_password() == "secret"
        assert row.topics.count() == 9
    assert Gateway.objects.count() == 4
    datalogger = Datalogger.objects.get(site__code="site_001", number="15")
    assert datalogger.label == "Datalogger Edificio A"
    assert datalogger.gateway is not None
    outside = datalogger.sensors.get(key="t_ext")
    assert outside.label == "Temperatura esterna"
    assert (outside.sensor_type, outside.unit_of_measure) == ("temperature", "°C")


def test_what_it_registers_is_what_the_fleet_publishes(monkeypatch: pytest.MonkeyPatch):
    load(monkeypatch)

    registered = {
        f"{row.site.code}/"
        + (f"gateway/{row.gateway.number}/" if row.gateway else "")
        + f"datalogger/{row.type}/{row.number}": (
            row.serial_number,
            {sensor.key for sensor in row.sensors.all()},
        )
        for row in Datalogger.objects.select_related("site", "gateway")
    }
    published = {
        slot.device.profile.base: (
            slot.device.profile.serial,
            {sensor.key for sensor in slot.device.profile.sensors},
        )
        for crew in crews_of(DEMO_SITES, Pace(), seed=1)
        for slot in crew.slots
        if slot.device.profile.sensors
    }
    assert registered == published


def test_a_second_time_it_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    load(monkeypatch)
    models = (Site, MqttConnection, Gateway, Datalogger, SensorDevice)
    before = [list(model.objects.order_by("pk").values()) for model in models]

    said = load(monkeypatch)

    assert said.count("unchanged") == 3
    assert [list(model.objects.order_by("pk").values()) for model in models] == before


def test_a_site_that_a_user_stopped_stays_stopped(monkeypatch: pytest.MonkeyPatch):
    load(monkeypatch)
    connection_stop(Site.objects.get(code=PADUA.code))

    load(monkeypatch, "mqtt://u:other@h:2884")

    assert not connection().is_enabled
    assert connection().broker_port == 2884


@pytest.mark.parametrize(
    "url", ["mqtt://u:secret@other:2883", "mqtt://u:new@h:2883", "mqtt://h:2883"]
)
def test_a_change_of_the_broker_is_applied(url: str, monkeypatch: pytest.MonkeyPatch):
    load(monkeypatch)
    generation = connection().generation

    said = load(monkeypatch, url)

    assert said.count("broker changed") == 3
    assert connection().generation > generation
    assert load(monkeypatch, url).count("unchanged") == 3


def test_a_password_that_cannot_be_read_is_stored_anew(monkeypatch: pytest.MonkeyPatch):
    load(monkeypatch)
    MqttConnection.objects.update(password_encrypted="of another key")

    load(monkeypatch)

    assert connection().read_password() == "secret"


def test_what_a_user_wrote_stays(monkeypatch: pytest.MonkeyPatch):
    load(monkeypatch)
    Site.objects.filter(code=PADUA.code).update(name="Padova 1")
    SensorDevice.objects.filter(key="t_ext").update(label="Esterna nord")

    load(monkeypatch)

    assert Site.objects.get(code=PADUA.code).name == "Padova 1"
    labels = SensorDevice.objects.filter(key="t_ext").values_list("label", flat=True)
    assert set(labels) == {"Esterna nord"}


def test_devices_that_the_ingest_met_first_get_their_words(
    monkeypatch: pytest.MonkeyPatch,
):
    load(monkeypatch)
    Datalogger.objects.update(label="")
    SensorDevice.objects.update(label="", sensor_type="", unit_of_measure="")
    SensorDevice.objects.filter(key="door").delete()

    load(monkeypatch)

    assert not Datalogger.objects.filter(label="").exists()
    assert not SensorDevice.objects.filter(label="").exists()
    doors = sum(
        sensor.key == "door"
        for site in DEMO_SITES
        for datalogger in site.dataloggers
        for sensor in datalogger.sensors
    )
    assert SensorDevice.objects.filter(key="door", sensor_type="door").count() == doors


def test_a_site_of_somebody_else_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    mine = site_create(name="Mine", code=PADUA.code)
    connection_configure(mine.connection, fields={"broker_host": "my.broker"})

    said = load(monkeypatch)

    assert "site_001 is taken by 'Mine'; left alone" in said
    assert connection().broker_host == "my.broker"
    assert not Datalogger.objects.filter(site=mine).exists()
    assert Site.objects.count() == 3


@pytest.mark.parametrize("url", ["", "http://u:secret@h"])
def test_it_needs_a_broker_and_never_prints_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(CommandError, match="load_demo needs MQTT_URL") as caught:
        load(monkeypatch, url)

    assert "secret" not in str(caught.value)
    assert not Site.objects.exists()
