"""A site, and its connection, get their settings on their pages."""

from __future__ import annotations

import pytest

from apps.sites import services, trials
from apps.sites.models import MqttConnection, Site
from apps.sites.serializers import MAX_PEM
from apps.web.tests.pages import page_of
from apps.web.tests.site_tabs import post, url


def settings_form(site, **change):
    rows = list(services.connection_of(site).topics.all())
    form = {
        "broker_host": "broker.example",
        "broker_port": "1883",
        "protocol": "3.1.1",
        "clean_session": "unknown",
        "topics-TOTAL_FORMS": str(len(rows) + 1),
        "topics-INITIAL_FORMS": str(len(rows)),
        f"topics-{len(rows)}-qos": "1",
        f"topics-{len(rows)}-is_active": "on",
        "action": "save",
    }
    for place, row in enumerate(rows):
        form |= {
            f"topics-{place}-id": str(row.pk),
            f"topics-{place}-pattern": row.pattern,
            f"topics-{place}-qos": str(row.qos),
            f"topics-{place}-is_active": "on",
        }
    return form | change


def test_it_stores_settings_and_keeps_the_password(
    client, connected, superuser, worker
):
    services.connection_configure(
        services.connection_of(connected), fields={}, password="CANARY-1"
    )
    client.force_login(superuser)
    form = settings_form(
        connected,
        broker_host="other.example",
        keepalive="30",
        clean_session="true",
        **{"topics-9-pattern": "extra/+", "topics-0-DELETE": "on"},
    )

    response = post(client, url(connected, "connection/"), **form)

    row = MqttConnection.objects.get(site=connected)
    patterns = list(row.topics.values_list("pattern", flat=True))
    assert response.json()["text"] == "The connection changes to the new settings."
    assert (row.broker_host, row.keepalive, row.clean_session) == (
        "other.example",
        30,
        True,
    )
    assert row.read_password() == "CANARY-1"
    assert "extra/+" in patterns
    assert "gateway/+/heartbeat" not in patterns


def test_it_never_shows_a_secret(client, connected, superuser):
    services.connection_configure(
        services.connection_of(connected), fields={}, password="CANARY-1"
    )
    client.force_login(superuser)

    shown = client.get(url(connected, "connection/")).content.decode()
    refused = client.post(
        url(connected, "connection/"),
        settings_form(connected, broker_port="0", password="CANARY-2"),
    )

    assert "CANARY" not in shown + refused.content.decode()
    assert "One is stored" in shown


def test_it_removes_a_password(client, connected, superuser, worker):
    services.connection_configure(
        services.connection_of(connected), fields={}, password="CANARY-1"
    )
    client.force_login(superuser)

    post(
        client,
        url(connected, "connection/"),
        **settings_form(connected, remove_password="on"),
    )

    assert not MqttConnection.objects.get(site=connected).has_password


def test_it_tries_what_is_not_stored_yet(client, connected, superuser, monkeypatch):
    asked = []

    def run(row, given):
        asked.append((row.broker_host, given))
        return {"ok": True, "steps": []}

    monkeypatch.setattr(trials, "run", run)
    client.force_login(superuser)
    form = settings_form(
        connected, broker_host="other.example", password="pw", action="test"
    )

    page = page_of(post(client, url(connected, "connection/"), **form))

    [(stored, given)] = asked
    assert stored == "broker.example"
    assert (given.fields["broker_host"], given.password) == ("other.example", "pw")
    assert len(given.topics) == 9
    assert "The connection works" in page.texts
    assert MqttConnection.objects.get(site=connected).broker_host == "broker.example"
    assert page.problems == []


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"broker_host": ""}, "id_broker_host"),
        ({"broker_host": "mqtt://x"}, "id_broker_host"),
        ({"broker_port": "0"}, "id_broker_port"),
        ({"keepalive": "1"}, "id_keepalive"),
        ({"client_id_prefix": "a b"}, "id_client_id_prefix"),
        ({"tls_ca": "no PEM"}, "id_tls_ca"),
        ({"tls_ca": "x" * (MAX_PEM + 1)}, "id_tls_ca"),
        ({"tls_client_key": "no PEM"}, "id_tls_client_key"),
        ({"topics-0-pattern": "a/#/b"}, "id_topics-0-pattern"),
        ({"topics-9-pattern": "/a"}, "id_topics-9-pattern"),
    ],
)
def test_it_keeps_wrong_settings_and_says_what_is_wrong(
    client, connected, superuser, change, field
):
    client.force_login(superuser)

    response = post(
        client,
        url(connected, "connection/"),
        **settings_form(connected, username="someone", **change),
    )
    page = page_of(response)

    assert response.status_code == 200
    assert page.problems == []
    assert page.with_attribute("id", f"{field}_error")
    assert page.with_attribute("value", "someone")
    assert MqttConnection.objects.get(site=connected).username == ""


def test_a_filter_twice_is_refused(client, connected, superuser):
    client.force_login(superuser)
    form = settings_form(connected, **{"topics-9-pattern": "gateway/+/heartbeat"})

    page = page_of(post(client, url(connected, "connection/"), **form))

    assert "duplicate data for pattern" in page.text
    assert page.with_attribute("role", "alert")


SITE_FORM = {
    "name": "South",
    "code": "",
    "timezone": "Europe/Rome",
    "visibility": "members",
}


def test_it_makes_a_site_and_goes_on_to_its_broker(client, superuser):
    client.force_login(superuser)

    answer = post(client, "/sites/new/", **SITE_FORM).json()

    site = Site.objects.get(name="South")
    assert answer["url"] == url(site, "connection/")
    assert site.code == f"site_{site.pk:03d}"
    assert (site.timezone, site.visibility) == ("Europe/Rome", "members")
    assert services.connection_of(site).topics.count() == 9


def test_it_changes_a_site(client, connected, superuser, worker):
    client.force_login(superuser)

    post(client, url(connected, "edit/"), **SITE_FORM)

    site = Site.objects.get(pk=connected.pk)
    assert (site.name, site.timezone, site.code) == (
        "South",
        "Europe/Rome",
        connected.code,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"code": "a/b"},
        {"code": "taken"},
        {"timezone": "Mars/Base"},
        {"latitude": "91"},
        {"longitude": "nan"},
    ],
)
def test_it_keeps_a_wrong_site_and_says_what_is_wrong(client, north, superuser, change):
    services.site_create(name="Other", code="taken")
    client.force_login(superuser)
    [field] = change

    for path in ("/sites/new/", url(north, "edit/")):
        response = post(client, path, **(SITE_FORM | change))
        page = page_of(response)
        assert response.status_code == 200
        assert page.problems == []
        assert page.with_attribute("id", f"id_{field}_error")
    assert Site.objects.get(pk=north.pk).name == "North"
