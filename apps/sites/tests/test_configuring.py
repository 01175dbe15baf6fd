"""New settings: stored encrypted, and a running connection follows them."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from apps.core.errors import DomainError
from apps.sites.models import (
    MqttConnection,
    Site,
    Status,
    validate_code,
    validate_timezone,
)
from apps.sites.patterns import DEFAULT_PATTERNS, problem_with_pattern
from apps.sites.recording import record
from apps.sites.services import (
    TopicSetting,
    connection_configure,
    connection_of,
    site_create,
    site_update,
)
from apps.sites.tests.builders import configured, report_on, running
from apps.sites.tests.sent import Sent, catch_commands

PASSWORD = "CANARY-77aa"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return catch_commands(monkeypatch)


def test_a_new_site_has_a_code_a_connection_and_the_default_topics(db):
    site = site_create(name="Lake")

    assert site.code == f"site_{site.pk:03d}"
    assert not site.connection.is_enabled
    assert site.connection.status == Status.DISCONNECTED
    assert {t.pattern for t in site.connection.topics.all()} == set(DEFAULT_PATTERNS)
    assert site.connection.stats.received == 0


def test_a_code_that_somebody_took_already_is_made_unique(db):
    first = site_create(name="a")
    site_create(name="b", code=f"site_{first.pk + 2:03d}")

    third = site_create(name="c")

    assert third.code.startswith(f"site_{third.pk:03d}")
    assert Site.objects.values("code").distinct().count() == 3


def test_two_sites_cannot_share_a_code(db):
    site_create(name="a", code="x")

    with pytest.raises(IntegrityError), transaction.atomic():
        site_create(name="b", code="x")


@pytest.mark.parametrize("code", ["a", "site_001", "A.b-c_9", "x" * 64])
def test_a_code_is_one_plain_level(code):
    validate_code(code)


@pytest.mark.parametrize(
    "code",
    ["", "a/b", "+", "#", "$SYS", "-a", "_a", ".a", "è", "a b", "a\n", "a\0", "x" * 65],
)
def test_any_other_code_is_refused(code):
    with pytest.raises(ValidationError):
        validate_code(code)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "europe/rome/", "../etc/passwd"])
def test_an_unknown_time_zone_is_refused(name):
    validate_timezone("Europe/Rome")
    with pytest.raises(ValidationError):
        validate_timezone(name)


def test_the_password_is_stored_encrypted_and_only_replaced_when_given(north):
    row = connection_configure(connection_of(north), fields={}, password=PASSWORD)
    stored = row.password_encrypted

    row = connection_configure(row, fields={"username": "u"})
    row.refresh_from_db()

    assert PASSWORD not in stored
    assert row.password_encrypted == stored
    assert row.read_password() == PASSWORD


def test_an_empty_password_removes_it(north):
    row = connection_configure(connection_of(north), fields={}, password=PASSWORD)

    row = connection_configure(row, fields={}, password="")

    row.refresh_from_db()
    assert not row.has_password
    assert row.read_password() == ""


def test_topics_are_replaced_as_a_whole_and_kept_when_not_given(north):
    row = connection_of(north)

    connection_configure(
        row, fields={}, topics=[TopicSetting("a/+"), TopicSetting("b", 0, False)]
    )
    connection_configure(row, fields={"username": "u"})

    assert [(t.pattern, t.qos, t.is_active) for t in row.topics.all()] == [
        ("a/+", 1, True),
        ("b", 0, False),
    ]


def test_a_kept_topic_takes_its_new_qos(north):
    row = connection_of(north)
    connection_configure(row, fields={}, topics=[TopicSetting("a", 1)])

    connection_configure(row, fields={}, topics=[TopicSetting("a", 0)])

    assert [(t.pattern, t.qos) for t in row.topics.all()] == [("a", 0)]


def test_an_enabled_connection_cannot_lose_its_broker(north):
    row = running(north)

    with pytest.raises(DomainError):
        connection_configure(row, fields={"broker_host": ""})

    row.refresh_from_db()
    assert row.broker_host == "broker.example.com"


# -- a running connection ------------------------------------------------------


def test_a_running_connection_swaps_to_its_new_settings_at_once(
    north, sent, django_capture_on_commit_callbacks
):
    row = running(north)
    generation = row.generation

    with django_capture_on_commit_callbacks(execute=True):
        connection_configure(row, fields={"broker_port": 1884})

    row.refresh_from_db()
    assert row.generation > generation
    assert row.status == Status.CONNECTING
    assert sent.names == ["check_site_presence", "ensure"]


def test_a_report_about_the_old_settings_is_void(north, sent):
    row = running(north)
    about_the_old = report_on(row, status=Status.ERROR, reason="auth")

    connection_configure(row, fields={}, password="new")

    assert not record(about_the_old)
    row.refresh_from_db()
    assert row.status == Status.CONNECTING


def test_a_stopped_connection_stays_stopped_and_silent(
    north, sent, django_capture_on_commit_callbacks
):
    row = configured(north)

    with django_capture_on_commit_callbacks(execute=True):
        connection_configure(row, fields={"broker_port": 1884})

    row.refresh_from_db()
    assert row.status == Status.DISCONNECTED
    assert sent.names == []


@pytest.mark.parametrize(
    ("fields", "commands"),
    [
        ({"code": "other"}, ["check_site_presence", "ensure"]),
        ({"timezone": "Europe/Rome"}, ["ensure"]),
        ({"name": "Other"}, []),
    ],
)
def test_a_change_of_the_site_that_messages_depend_on_reaches_the_worker(
    north, sent, fields, commands, django_capture_on_commit_callbacks
):
    row = running(north)
    generation = row.generation

    with django_capture_on_commit_callbacks(execute=True):
        site_update(north, fields=fields)

    row.refresh_from_db()
    assert sent.names == commands
    assert (row.generation > generation) is bool(commands)


@pytest.mark.parametrize("status", [Status.CONNECTED, Status.ERROR])
def test_other_topics_alone_leave_a_link_that_is_up_connected(
    north, sent, status, django_capture_on_commit_callbacks
):
    row = running(north)
    MqttConnection.objects.filter(pk=row.pk).update(status=status)
    row.refresh_from_db()
    same = {"broker_host": row.broker_host, "broker_port": row.broker_port}

    with django_capture_on_commit_callbacks(execute=True):
        connection_configure(row, fields=same, topics=[TopicSetting("a/#")])

    row.refresh_from_db()
    is_up = status == Status.CONNECTED
    # A link that is tried again is news; its devices are not unknown for new topics.
    assert row.status == (Status.CONNECTED if is_up else Status.CONNECTING)
    assert sent.names == ["ensure"]


# -- patterns ------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern", [*DEFAULT_PATTERNS, "#", "+", "a", "a/#", "+/+/#", "è/°C", "$x", "a b"]
)
def test_a_filter_by_the_rules_of_mqtt_is_taken(pattern):
    assert problem_with_pattern(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "#/a",
        "a/#/b",
        "a#",
        "a+",
        "a/+b",
        "##",
        "++",
        "a\0",
        "a\nb",
        "\x7f",
    ],
)
def test_any_other_filter_has_a_problem_with_words(pattern):
    assert str(problem_with_pattern(pattern))
