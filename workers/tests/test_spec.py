"""The row as a spec: full topics, fixed client id, and secrets that fail closed."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.test import override_settings

from apps.sites.models import MqttConnection, MqttTopic, Site
from apps.sites.patterns import DEFAULT_PATTERNS
from apps.sites.services import connection_configure, connection_of, connection_start
from workers.spec import ConnectionSpec, load_enabled, load_spec, spec_of

pytestmark = pytest.mark.django_db

PASSWORD = "CANARY-5f2d"


@pytest.fixture
def row(north: Site) -> MqttConnection:
    return connection_configure(
        connection_of(north),
        fields={"broker_host": "broker.example.com", "username": "u"},
        password=PASSWORD,
    )


def fresh(row: MqttConnection) -> ConnectionSpec:
    loaded = load_spec(row.site_id)
    assert loaded is not None
    return loaded[0]


def test_patterns_become_full_topics_of_the_site(row):
    spec = fresh(row)

    assert spec.filters == tuple((f"{spec.code}/{p}", 1) for p in DEFAULT_PATTERNS)
    assert spec.unwanted == ()
    assert spec.status_topic == f"{row.site.code}/backend/status"


def test_an_inactive_pattern_is_unwanted(row):
    MqttTopic.objects.filter(pattern="gateway/+/status").update(is_active=False)

    spec = fresh(row)

    name = f"{row.site.code}/gateway/+/status"
    assert name in spec.unwanted
    assert name not in dict(spec.filters)


def test_a_pattern_that_was_removed_is_unwanted_as_long_as_it_was_subscribed(row):
    """A worker that starts anew meets the session of its predecessor."""
    code = row.site.code
    MqttConnection.objects.update(
        subscribed_topics=[f"{code}/extra/#", f"{code}/gateway/+/status"]
    )

    spec = fresh(row)

    assert spec.unwanted == (f"{code}/extra/#",)


def test_a_qos_beyond_1_is_brought_down(row):
    MqttTopic.objects.filter(pattern="gateway/+/status").update(qos=2)

    assert {qos for _, qos in fresh(row).filters} == {1}


@override_settings(MQTT_INSTANCE_ID="bfg_back")
def test_the_client_id_is_fixed_by_site_and_instance(row):
    assert fresh(row).client_id == f"site_{row.site_id}_bfg_back"

    row.client_id_prefix = "plant"

    assert spec_of(row).client_id == "plant_bfg_back"


@override_settings(MQTT_KEEP_ALIVE=17, MQTT_CLEAN_SESSION=True, MQTT_LWT_ENABLED=False)
def test_empty_fields_follow_the_settings(row):
    spec = fresh(row)

    assert (spec.keepalive_s, spec.clean_session, spec.has_will) == (17, True, False)


@override_settings(MQTT_KEEP_ALIVE=17, MQTT_CLEAN_SESSION=True)
def test_fields_of_the_row_win_over_the_settings(row):
    MqttConnection.objects.update(keepalive=99, clean_session=False)

    spec = fresh(row)

    assert (spec.keepalive_s, spec.clean_session) == (99, False)


def test_the_password_is_read_and_shown_nowhere(row):
    spec = fresh(row)

    assert spec.password == PASSWORD
    assert PASSWORD not in repr(spec)
    assert PASSWORD not in row.password_encrypted
    assert PASSWORD not in repr(row) + str(row)


def another_key() -> str:
    return Fernet.generate_key().decode()


def test_a_password_that_cannot_be_read_is_a_problem_and_no_password(row):
    with override_settings(FIELD_ENCRYPTION_KEYS=(another_key(),)):
        spec = fresh(row)

    assert "broker password" in spec.problem
    assert spec.password == ""
    assert row.password_encrypted not in repr(spec) + spec.problem


def test_a_client_key_that_cannot_be_read_is_a_problem(row):
    row = connection_configure(
        row, fields={"use_tls": True}, password="", tls_client_key="CANARY-key"
    )

    good = fresh(row)
    with override_settings(FIELD_ENCRYPTION_KEYS=(another_key(),)):
        spec = fresh(row)

    assert good.tls is not None
    assert good.tls.client_key == "CANARY-key"
    assert "CANARY" not in repr(good)
    assert "TLS client key" in spec.problem


def test_a_connection_without_a_host_is_a_problem(north):
    loaded = load_spec(north.pk)

    assert loaded is not None
    assert "host" in loaded[0].problem


def test_a_time_zone_that_this_machine_does_not_know_costs_only_its_site(row):
    Site.objects.filter(pk=row.site_id).update(timezone="Mars/Olympus_Mons")

    spec = fresh(row)

    assert "Mars/Olympus_Mons" in spec.problem


def test_a_site_that_is_gone_has_no_spec(db):
    assert load_spec(987_654) is None


def test_only_enabled_connections_of_ones_own_shards_are_loaded(north, hidden):
    for site in (north, hidden):
        connection_configure(connection_of(site), fields={"broker_host": "b"})
    connection_start(north)

    with override_settings(MQTT_SHARDS=2):
        mine = load_enabled({north.pk % 2})
        others = load_enabled({(north.pk + 1) % 2})

    assert [spec.site_id for spec in mine] == [north.pk]
    assert others == []


def test_a_row_that_cannot_be_used_does_not_keep_the_others_from_loading(north, hidden):
    for site in (north, hidden):
        connection_configure(connection_of(site), fields={"broker_host": "b"})
        connection_start(site)
    Site.objects.filter(pk=hidden.pk).update(timezone="nowhere")

    with override_settings(MQTT_SHARDS=1):
        specs = load_enabled({0})

    assert {spec.site_id: bool(spec.problem) for spec in specs} == {
        north.pk: False,
        hidden.pk: True,
    }


def test_the_same_row_with_another_generation_is_the_same_link(row):
    before = fresh(row)

    connection_start(row.site)

    after = fresh(row)
    assert after.generation > before.generation
    assert after.is_same_link(before)


def test_any_change_that_the_broker_would_notice_is_another_link(row):
    before = fresh(row)

    for fields in ({"broker_port": 1884}, {"username": "v"}, {"keepalive": 60}):
        row = connection_configure(row, fields=fields)
        after = fresh(row)
        assert not after.is_same_link(before)
        before = after
