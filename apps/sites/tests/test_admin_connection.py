"""Connections in the admin: configured, started and stopped, their secrets unseen."""

from __future__ import annotations

import pytest
from django.urls import reverse

from apps.sites.models import MqttConnection
from apps.sites.services import connection_of
from apps.sites.tests.builders import configured, running
from apps.sites.tests.test_api_connection import CANARY, pair
from apps.sites.tests.test_api_status import lose_the_worker

LIST = "admin:sites_mqttconnection_changelist"
CHANGE = "admin:sites_mqttconnection_change"


@pytest.fixture
def admin(client, superuser):
    client.force_login(superuser)
    return client


def form_of(row: MqttConnection, **changes: object) -> dict[str, object]:
    """Return what the browser sends for this row, with changes."""
    topics = list(row.topics.all())
    form: dict[str, object] = {
        "broker_host": row.broker_host,
        "broker_port": row.broker_port,
        "username": row.username,
        "password": "",
        "client_id_prefix": row.client_id_prefix,
        "protocol": row.protocol,
        "keepalive": row.keepalive or "",
        "clean_session": "unknown",
        "tls_ca": row.tls_ca,
        "tls_client_cert": row.tls_client_cert,
        "tls_client_key": "",
        "tls_server_name": row.tls_server_name,
        "topics-TOTAL_FORMS": len(topics),
        "topics-INITIAL_FORMS": len(topics),
    }
    for place, topic in enumerate(topics):
        form |= {
            f"topics-{place}-id": topic.pk,
            f"topics-{place}-connection": row.pk,
            f"topics-{place}-pattern": topic.pattern,
            f"topics-{place}-qos": topic.qos,
            f"topics-{place}-is_active": "on",
        }
    return form | changes


def save(admin, row: MqttConnection, **changes: object) -> MqttConnection:
    answer = admin.post(reverse(CHANGE, args=[row.pk]), form_of(row, **changes))
    assert answer.status_code == 302, answer.context["errors"]
    return MqttConnection.objects.get(pk=row.pk)


def errors_of(admin, row: MqttConnection, **changes: object) -> str:
    answer = admin.post(reverse(CHANGE, args=[row.pk]), form_of(row, **changes))
    assert answer.status_code == 200
    return str(answer.context["errors"])


def test_a_saved_change_is_one_new_generation_and_swaps_the_connection(admin, north):
    row = running(north)

    after = save(admin, row, broker_port=1884, username="me")

    assert (after.broker_port, after.username) == (1884, "me")
    assert after.generation == row.generation + 1
    assert after.status == "connecting"


def test_a_save_without_a_change_leaves_the_connection_alone(admin, north):
    row = running(north)

    after = save(admin, row)

    assert (after.generation, after.status) == (row.generation, "connected")


def test_a_blank_password_keeps_the_stored_one(admin, north):
    row = configured(north)

    assert save(admin, row, password=f" {CANARY} ").read_password() == f" {CANARY} "
    assert save(admin, row, username="me").read_password() == f" {CANARY} "
    assert save(admin, row, remove_password="on").read_password() == ""


def test_a_new_password_and_its_removal_contradict_each_other(admin, north):
    row = configured(north)

    assert "remove" in errors_of(admin, row, password="x", remove_password="on")


def test_no_page_shows_a_secret(admin, north):
    certificate, key = pair()
    row = save(
        admin,
        configured(north),
        password=CANARY,
        tls_client_cert=certificate,
        tls_client_key=key,
    )

    pages = [
        admin.get(reverse(LIST)),
        admin.get(reverse(CHANGE, args=[row.pk])),
        admin.get(reverse("admin:sites_mqttconnection_history", args=[row.pk])),
        admin.post(
            reverse(CHANGE, args=[row.pk]),
            form_of(row, password=CANARY, broker_port=0),
        ),
    ]

    for page in pages:
        assert page.status_code == 200
        for secret in (CANARY, row.password_encrypted, "PRIVATE KEY"):
            assert secret not in page.content.decode()


def test_topics_are_added_renamed_and_removed_in_one_save(admin, north):
    row = configured(north)
    first, second, *others = row.topics.all()

    after = save(
        admin,
        row,
        **{
            "topics-TOTAL_FORMS": 10,
            "topics-0-pattern": "other/+",
            "topics-1-DELETE": "on",
            "topics-9-connection": row.pk,
            "topics-9-pattern": "extra/#",
            "topics-9-qos": 0,
        },
    )

    found = {topic.pattern: topic for topic in after.topics.all()}
    assert {first.pattern, second.pattern} & found.keys() == set()
    assert {topic.pattern for topic in others} <= found.keys()
    assert found["other/+"].is_active
    assert (found["extra/#"].qos, found["extra/#"].is_active) == (0, False)
    assert after.generation == row.generation + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"broker_host": "mqtt://x"},
        {"broker_host": "a b"},
        {"broker_port": "0"},
        {"keepalive": "4"},
        {"client_id_prefix": "a b"},
        {"tls_ca": "x"},
        {"tls_client_cert": "x"},
        {"tls_client_key": "x"},
        {"tls_server_name": "a/b"},
        {"topics-0-pattern": "/a"},
        {"topics-0-pattern": "gateway/+/status"},
        {"topics-0-pattern": ""},
        {f"topics-{place}-DELETE": "on" for place in range(9)},
    ],
)
def test_a_wrong_setting_is_refused(admin, north, changes):
    row = configured(north)

    assert errors_of(admin, row, **changes) not in ("", "[]")
    assert MqttConnection.objects.get(pk=row.pk).generation == row.generation


def test_a_certificate_needs_a_key_that_fits(admin, north):
    row = configured(north)
    certificate, key = pair()
    _, other_key = pair()

    for changes in (
        {"tls_client_cert": certificate},
        {"tls_client_key": key},
        {"tls_client_cert": certificate, "tls_client_key": other_key},
    ):
        assert "key" in errors_of(admin, row, **changes)

    kept = save(admin, row, tls_client_cert=certificate, tls_client_key=key)
    assert kept.read_tls_client_key().strip() == key.strip()
    kept = save(admin, kept, username="me")
    assert kept.read_tls_client_key().strip() == key.strip()
    gone = save(admin, kept, tls_client_cert="")
    assert gone.tls_client_key_encrypted == ""


def test_a_wrong_encryption_key_is_said_and_breaks_nothing(admin, north, settings):
    row = save(admin, configured(north), password=CANARY)
    settings.FIELD_ENCRYPTION_KEYS = ("CyO2h1pXK0bE6fJ3sP4qVnYt8wRzUa5dGmLxBkNeTjA=",)

    page = admin.get(reverse(CHANGE, args=[row.pk])).content.decode()

    assert "cannot be decrypted" in page
    assert row.password_encrypted not in page
    assert admin.get(reverse(LIST)).status_code == 200
    assert save(admin, row, password="new").read_password() == "new"


def test_the_list_says_what_is_true_now(admin, north, hidden):
    running(hidden)
    running(north)
    lose_the_worker(north)

    page = admin.get(reverse(LIST)).content.decode()

    assert 'status-red">MQTT error' in page
    assert "no worker looks after this site" in page


def test_connections_are_started_and_stopped_from_the_list(admin, north, hidden):
    rows = [configured(north), connection_of(hidden)]

    def act(action):
        chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
        return admin.post(reverse(LIST), chosen, follow=True).content.decode()

    started = act("start")
    assert "North is being started." in started
    assert f"Site {hidden.pk} has no broker yet" in started
    assert MqttConnection.objects.get(site=north).is_enabled

    assert "North is being stopped." in act("stop")
    assert not MqttConnection.objects.get(site=north).is_enabled


def test_a_staff_user_without_superuser_rights_sees_none_of_it(client, viewer, north):
    viewer.is_staff = True
    viewer.save()
    client.force_login(viewer)
    row = configured(north)

    for path in (reverse(LIST), reverse(CHANGE, args=[row.pk])):
        assert client.get(path).status_code == 403
    assert client.post(reverse(LIST), {"action": "start"}).status_code == 403
