"""Every admin page opens, stays small in queries, and escapes what devices sent."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin as django_admin
from django.urls import reverse
from django.utils import timezone

from apps.alerts.models import Alert, AlertChannel, AlertDelivery
from apps.devices.discovery import topic_digest
from apps.devices.models import (
    Datalogger,
    DiscoveredTopic,
    DiscoverySession,
    Gateway,
    PresencePeriod,
    SensorDevice,
)
from apps.sites.models import (
    Command,
    ConnectionEvent,
    MqttConnection,
    ShardLease,
    Site,
    SiteMember,
)
from apps.sites.services import site_create
from apps.sites.tests.builders import configured, running
from apps.telemetry.models import QuarantinedMessage, TopicMapping

NAUGHTY = '<script>alert("x")</script>\x00\x1b[31m\u202e{{7*7}}'
MODELS = (
    Site,
    MqttConnection,
    ConnectionEvent,
    Command,
    ShardLease,
    Gateway,
    Datalogger,
    PresencePeriod,
    SensorDevice,
    DiscoveredTopic,
    DiscoverySession,
    QuarantinedMessage,
    TopicMapping,
    AlertChannel,
    Alert,
    AlertDelivery,
)
READ_ONLY = (
    ConnectionEvent,
    Command,
    ShardLease,
    PresencePeriod,
    QuarantinedMessage,
    DiscoverySession,
    Alert,
    AlertDelivery,
)


@pytest.fixture
def admin(client, superuser):
    client.force_login(superuser)
    return client


def page_of(model, name: str = "changelist", *args: object) -> str:
    return reverse(
        f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args
    )


def fill(site: Site, place: int) -> None:
    """Store one more of everything, with names that a page must escape."""
    words = NAUGHTY.replace("\x00", "")
    gateway = Gateway.objects.create(site=site, number=f"{place}", label=words)
    AlertDelivery.objects.create(
        channel=AlertChannel.objects.create(
            kind="email", name=words, target=words, site=site
        ),
        alert=Alert.objects.create(
            kind="gateway",
            site=site,
            gateway=gateway,
            subject=words,
            cause=words[:32],
            opened_at=timezone.now(),
        ),
        event="opened",
        error=words,
    )
    datalogger = Datalogger.objects.create(
        site=site, gateway=gateway, type="t", number=f"{place}", label=words
    )
    SensorDevice.objects.create(
        datalogger=datalogger, key="k", label=words, current_text=words
    )
    PresencePeriod.objects.create(
        datalogger=datalogger, presence="offline", started_at=timezone.now()
    )
    Command.objects.create(
        site=site,
        username=words,
        topic=words,
        payload=NAUGHTY.encode() + b"\xff",
        payload_size=3,
        reply=words,
        detail=words,
        expires_at=timezone.now(),
    )
    DiscoveredTopic.objects.create(
        site=site,
        topic=words,
        digest=topic_digest(words),
        first_seen=timezone.now(),
        last_seen=timezone.now(),
        last_payload=NAUGHTY.encode() + b"\xff",
        paths=[{"path": words, "type": "text"}],
    )
    DiscoverySession.objects.create(
        site=site, username=words, duration_s=60, state="failed", detail=words
    )
    QuarantinedMessage.objects.create(
        site=site,
        topic=words,
        payload=NAUGHTY.encode() + b"\xff",
        payload_size=3,
        qos=1,
        retain=False,
        reason="json_invalid",
        detail=words,
    )

    TopicMapping.objects.create(
        site=site,
        topic=words,
        digest=topic_digest(words),
        datalogger_type="t",
        datalogger_number="1",
        values=[{"path": "$", "key": words, "label": words}],
    )


@pytest.fixture
def filled(north, hidden):
    running(north)
    fill(north, 0)
    return north


@pytest.mark.parametrize("model", MODELS)
def test_its_list_can_be_searched_and_opened(admin, filled, model):
    row = model.objects.first()

    pages = [
        admin.get(page_of(model)),
        admin.get(page_of(model), {"q": "north <script>"}),
        admin.get(page_of(model, "change", row.pk)),
    ]

    for page in pages:
        assert page.status_code == 200
        assert "<script>alert" not in page.content.decode()


@pytest.mark.parametrize("model", READ_ONLY)
def test_what_the_system_writes_nobody_edits(admin, filled, model):
    row = model.objects.first()

    assert admin.get(page_of(model, "add")).status_code == 403
    assert admin.get(page_of(model, "delete", row.pk)).status_code == 403
    assert admin.post(page_of(model, "change", row.pk), {}).status_code == 403
    actions = re.findall(
        r'<option value="(\w+)"', admin.get(page_of(model)).content.decode()
    )
    assert "delete_selected" not in actions
    assert set(actions) <= {"replay"}


def test_a_quarantined_payload_is_shown_with_its_bytes_spelled_out(admin, filled):
    row = QuarantinedMessage.objects.get()

    page = admin.get(page_of(QuarantinedMessage, "change", row.pk)).content.decode()

    assert "&lt;script&gt;" in page
    assert "\\x00\\x1b[31m\\u202e{{7*7}}\\xff" in page


def test_no_list_asks_more_for_more_rows(
    admin, superuser, django_assert_max_num_queries
):
    used: dict[type, list[int]] = {model: [] for model in MODELS}
    for place in range(41):
        site = site_create(name=f"Site {place}")
        configured(site)
        SiteMember.objects.create(site=site, user=superuser)
        ConnectionEvent.objects.create(
            connection=site.connection, old_status="error", new_status="connected"
        )
        ShardLease.objects.create(
            shard=100 + place, expires_at=timezone.now(), acquired_at=timezone.now()
        )
        fill(site, place)
        if place in (10, 40):
            for model in MODELS:
                with django_assert_max_num_queries(12) as context:
                    admin.get(page_of(model))
                used[model].append(len(context))

    assert {model: len(set(counts)) for model, counts in used.items()} == dict.fromkeys(
        MODELS, 1
    ), used


def test_a_site_is_added_with_its_connection_and_members(admin, viewer):
    form = {
        "name": "Lake",
        "code": "",
        "timezone": "Europe/Rome",
        "visibility": "members",
        "members-TOTAL_FORMS": 1,
        "members-INITIAL_FORMS": 0,
        "members-0-user": viewer.pk,
        "members-0-role": "operator",
    }

    answer = admin.post(page_of(Site, "add"), form)

    assert answer.status_code == 302
    site = Site.objects.get()
    assert (site.name, site.code) == ("Lake", f"site_{site.pk:03d}")
    assert site.connection.topics.count() == 9
    assert site.members.get().role == "operator"


def test_a_new_code_makes_a_running_connection_follow(admin, north):
    before = running(north)
    members = list(north.members.all())
    form = {
        "name": "Nord",
        "code": "elsewhere",
        "timezone": "UTC",
        "visibility": "all_users",
        "members-TOTAL_FORMS": len(members),
        "members-INITIAL_FORMS": len(members),
    }
    for place, member in enumerate(members):
        form |= {
            f"members-{place}-id": member.pk,
            f"members-{place}-site": north.pk,
            f"members-{place}-user": member.user_id,
            f"members-{place}-role": member.role,
        }

    assert admin.post(page_of(Site, "change", north.pk), form).status_code == 302

    after = MqttConnection.objects.select_related("site").get(pk=before.pk)
    assert (after.site.name, after.site.code) == ("Nord", "elsewhere")
    assert (after.generation, after.status) == (before.generation + 1, "connecting")


def test_sites_are_deleted_with_all_they_have(admin, filled, hidden):
    asked = admin.get(page_of(Site, "delete", filled.pk))
    assert asked.status_code == 200

    assert (
        admin.post(page_of(Site, "delete", filled.pk), {"post": "yes"}).status_code
        == 302
    )
    chosen = {
        "action": "delete_selected",
        "_selected_action": [hidden.pk],
        "post": "yes",
    }
    assert admin.post(page_of(Site), chosen).status_code == 302

    assert not Site.objects.exists()
    assert not SensorDevice.objects.exists()


def test_a_staff_user_reaches_none_of_our_models(client, viewer, filled):
    viewer.is_staff = True
    viewer.save()
    client.force_login(viewer)

    statuses = {model: client.get(page_of(model)).status_code for model in MODELS}

    assert statuses == dict.fromkeys(MODELS, 403)


def test_every_model_of_ours_in_the_admin_is_tried_here():
    ours = {
        model
        for model in django_admin.site._registry
        if model.__module__.startswith("apps.")
    }

    assert ours == set(MODELS)
