"""What people may say about devices: over the API and in the admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from apps.core.tests.clients import client_of, is_error
from apps.devices import services
from apps.devices.models import Datalogger, Gateway, SensorDevice
from apps.devices.tests.fleet import heard, heard_gateway
from apps.sites.tests.sent import catch_commands

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
API = "/api/v1/mqtt"


@pytest.fixture
def datalogger(north) -> Datalogger:
    return heard(north, AT)


@pytest.fixture
def gateway(north) -> Gateway:
    return heard_gateway(north, AT)


def patched(user, path: str, body: object, status: int = 200) -> dict:
    answer = client_of(user).patch(f"{API}/{path}/", body, format="json")
    assert answer.status_code == status, answer.content
    return dict(answer.json())


def test_a_datalogger_is_named_pinned_and_given_time(superuser, datalogger):
    said = {"label": "Roof", "protocol_version": 2, "offline_after_s": 600}

    body = patched(superuser, f"dataloggers/{datalogger.pk}", said)

    assert {name: body[name] for name in said} == said
    assert (
        body == client_of(superuser).get(f"{API}/dataloggers/{datalogger.pk}/").json()
    )
    datalogger.refresh_from_db()
    assert datalogger.offline_after == AT + timedelta(seconds=600)
    assert datalogger.is_online


def test_what_was_set_can_be_taken_back(superuser, north):
    datalogger = heard(north, AT, interval=40, override=600)
    said = {"label": "", "protocol_version": None, "offline_after_s": None}

    body = patched(superuser, f"dataloggers/{datalogger.pk}", said)

    assert (body["offline_after_s"], body["protocol_version"]) == (None, None)
    assert body["label"] == "monstro 15"
    datalogger.refresh_from_db()
    assert datalogger.offline_after == AT + timedelta(seconds=60)


def test_what_is_not_said_stays(superuser, datalogger):
    patched(superuser, f"dataloggers/{datalogger.pk}", {"label": "Roof"})
    patched(superuser, f"dataloggers/{datalogger.pk}", {"protocol_version": 2})

    body = patched(superuser, f"dataloggers/{datalogger.pk}", {})

    assert (body["label"], body["protocol_version"]) == ("Roof", 2)


def test_a_device_that_was_never_heard_has_no_deadline(superuser, north):
    row = Datalogger.objects.create(site=north, type="a", number="1")

    patched(superuser, f"dataloggers/{row.pk}", {"offline_after_s": 5})

    row.refresh_from_db()
    assert (row.offline_after_s, row.offline_after) == (5, None)


def test_a_new_deadline_is_looked_at_at_once(
    superuser, datalogger, monkeypatch, django_capture_on_commit_callbacks
):
    commands = catch_commands(monkeypatch)

    with django_capture_on_commit_callbacks(execute=True):
        patched(superuser, f"dataloggers/{datalogger.pk}", {"label": "Roof"})
        assert commands.commands == []
        patched(superuser, f"dataloggers/{datalogger.pk}", {"offline_after_s": 5})

    assert commands.commands == [("check_site_presence", datalogger.site_id, "default")]


def test_a_gateway_is_read_named_and_given_time(superuser, viewer, gateway):
    body = patched(
        superuser, f"gateways/{gateway.pk}", {"label": "Hall", "offline_after_s": 5}
    )

    assert (body["label"], body["offline_after_s"]) == ("Hall", 5)
    assert client_of(viewer).get(f"{API}/gateways/{gateway.pk}/").json() == body
    gateway.refresh_from_db()
    assert gateway.offline_after == AT + timedelta(seconds=5)


def test_a_sensor_is_read_and_described(superuser, viewer, datalogger):
    sensor = SensorDevice.objects.create(
        datalogger=datalogger, key="t", current_value=22.5, current_at=AT
    )
    said = {
        "label": "Outside",
        "sensor_type": "temperature",
        "unit_of_measure": "°C",
    }

    body = patched(superuser, f"sensors/{sensor.pk}", said)

    assert {name: body[name] for name in said} == said
    assert body["current_value"] == 22.5
    assert client_of(viewer).get(f"{API}/sensors/{sensor.pk}/").json() == body


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("label", "x" * 201),
        ("label", "a\x00b"),
        ("label", None),
        ("label", []),
        ("protocol_version", 0),
        ("protocol_version", 256),
        ("protocol_version", 2**63),
        ("protocol_version", 10**400),
        ("protocol_version", True),
        ("protocol_version", "two"),
        ("offline_after_s", 0),
        ("offline_after_s", -1),
        ("offline_after_s", 62 * 86_400 + 1),
        ("offline_after_s", 2**63),
        ("offline_after_s", 1.5),
        ("offline_after_s", {}),
    ],
)
def test_it_names_what_is_wrong(superuser, datalogger, field, value):
    body = patched(superuser, f"dataloggers/{datalogger.pk}", {field: value}, 400)

    assert is_error(body)
    assert list(body["fields"]) == [field]


@pytest.mark.parametrize(
    "body",
    ["[]", "5", "null", '"x"', '[{"label": "x"}]', "{", '{"label": "\\ud800"}'],
)
def test_it_refuses_what_is_no_object_of_words(superuser, datalogger, body):
    answer = client_of(superuser).generic(
        "PATCH",
        f"{API}/dataloggers/{datalogger.pk}/",
        body,
        content_type="application/json",
    )

    assert answer.status_code == 400
    assert is_error(answer.json())


@pytest.mark.parametrize("kind", ["dataloggers", "gateways", "sensors"])
def test_a_device_deleted_meanwhile_is_not_there(
    superuser, datalogger, gateway, kind, monkeypatch
):
    sensor = SensorDevice.objects.create(datalogger=datalogger, key="t")
    row = {"dataloggers": datalogger, "gateways": gateway, "sensors": sensor}[kind]
    name = "sensor_update" if kind == "sensors" else "device_update"
    update = getattr(services, name)

    def too_late(found, fields):
        type(found).objects.filter(pk=found.pk).delete()
        return update(found, fields)

    monkeypatch.setattr(services, name, too_late)

    assert is_error(patched(superuser, f"{kind}/{row.pk}", {"label": "x"}, 404))


# -- the admin -----------------------------------------------------------------


@pytest.fixture
def admin(client, superuser):
    client.force_login(superuser)
    return client


def test_the_admin_moves_the_deadline_too(admin, datalogger):
    page = reverse("admin:devices_datalogger_change", args=[datalogger.pk])
    form = {"label": "Roof", "protocol_version": "2", "offline_after_s": "600"}

    assert admin.post(page, form).status_code == 302

    datalogger.refresh_from_db()
    assert (datalogger.label, datalogger.protocol_version) == ("Roof", 2)
    assert datalogger.offline_after == AT + timedelta(seconds=600)


def test_an_old_form_does_not_turn_presence_back(admin, datalogger, monkeypatch):
    """The device went offline between the page and the click."""
    page = reverse("admin:devices_datalogger_change", args=[datalogger.pk])
    update = services.device_update

    def meanwhile(row, fields):
        Datalogger.objects.update(presence="offline", offline_cause="will")
        return update(row, fields)

    monkeypatch.setattr(services, "device_update", meanwhile)
    form = {"label": "Roof", "presence": "online", "offline_after_s": ""}

    assert admin.post(page, form).status_code == 302

    datalogger.refresh_from_db()
    assert (datalogger.label, datalogger.presence) == ("Roof", "offline")
    assert datalogger.offline_cause == "will"


@pytest.mark.parametrize(
    "form", [{"protocol_version": "256"}, {"offline_after_s": "0"}]
)
def test_the_admin_refuses_what_the_api_refuses(admin, datalogger, form):
    page = reverse("admin:devices_datalogger_change", args=[datalogger.pk])

    assert admin.post(page, {"label": "", **form}).status_code == 200

    datalogger.refresh_from_db()
    assert (datalogger.protocol_version, datalogger.offline_after_s) == (None, None)


def test_a_gateway_is_treated_alike(admin, gateway):
    page = reverse("admin:devices_gateway_change", args=[gateway.pk])

    assert admin.post(page, {"label": "", "offline_after_s": "5"}).status_code == 302

    gateway.refresh_from_db()
    assert gateway.offline_after == AT + timedelta(seconds=5)
