"""The quarantine and the mappings in the admin."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from apps.sites.models import MqttTopic
from apps.sites.services import connection_of
from apps.telemetry.admin import hexadecimal
from apps.telemetry.models import QuarantinedMessage, TopicMapping
from apps.telemetry.tests.batches import values
from apps.telemetry.tests.test_api_quarantine import keep

QUARANTINE = "admin:telemetry_quarantinedmessage_changelist"
MESSAGE = "admin:telemetry_quarantinedmessage_change"
MAPPINGS = "admin:telemetry_topicmapping_changelist"
ADD = "admin:telemetry_topicmapping_add"
CHANGE = "admin:telemetry_topicmapping_change"
VALUES = [{"path": "$.t", "key": "t"}]


@pytest.fixture
def admin(client, superuser):
    client.force_login(superuser)
    return client


def test_a_payload_is_shown_as_text_that_is_never_markup_and_in_hexadecimal(
    admin, north
):
    row = keep(
        north,
        b"<script>alert(1)</script>\0\xff\xe2\x80\xae",
        topic="x/<b>\u202e",
        detail="<i>",
    )

    page = admin.get(reverse(MESSAGE, args=[row.pk])).content.decode()
    listed = admin.get(reverse(QUARANTINE)).content.decode()

    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x00\\xff\\u202e" in page
    assert "3c 73 63 72 69 70 74 3e" in page
    for text in (page, listed):
        assert "<script>alert" not in text
        assert "<b>" not in text.replace("<b></b>", "")
        assert "\u202e" not in text


def test_hexadecimal_has_place_bytes_and_text():
    assert hexadecimal(b"") == ""
    assert hexadecimal(b"0123456789abcde\n\xff") == (
        "000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 0a  0123456789abcde.\n"
        f"000010  {'ff':<47}  ."
    )


def test_the_quarantine_is_searched_and_filtered(admin, north, hidden):
    keep(north, topic="here/one")
    keep(hidden, topic="there/two", reason="too_large")

    def found(query: str) -> int:
        answer = admin.get(reverse(QUARANTINE) + query)
        assert answer.status_code == 200
        return len(answer.context["cl"].result_list)

    assert found("") == 2
    assert found("?q=here/one") == 1
    assert found("?reason__exact=too_large") == 1
    assert found("?replayed=yes") == 0
    assert found("?replayed=no") == 2
    assert found(f"?site__id__exact={north.pk}") == 1
    assert found("?received_at__gte=2000-01-01 00:00:00%2B00:00") == 2


def test_the_action_replays_what_was_chosen(admin, north, hidden):
    rows = [
        keep(north, b'{"values": {"t": 1}}'),
        keep(north, b'{"values": {"t": 2}}'),
        keep(hidden, b'{"values": {"t": 3}}'),
    ]
    chosen = {"action": "replay", "_selected_action": [rows[0].pk, rows[2].pk]}

    answer = admin.post(reverse(QUARANTINE), chosen, follow=True)

    assert "2 replayed, 0 still quarantined, 0 skipped" in answer.content.decode()
    assert set(values()) == {1.0, 3.0}


def test_nobody_writes_or_deletes_in_the_quarantine(admin, north):
    row = keep(north)
    chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}

    admin.post(reverse(QUARANTINE), chosen)
    answer = admin.post(reverse(MESSAGE, args=[row.pk]), {"topic": "x"})

    assert answer.status_code == 403
    assert QuarantinedMessage.objects.get().topic == row.topic


@pytest.mark.parametrize("name", [QUARANTINE, MAPPINGS, ADD])
def test_others_see_nothing_of_it(client, operator, name):
    operator.is_staff = True
    operator.save()
    client.force_login(operator)

    assert client.get(reverse(name)).status_code == 403


# -- mappings ------------------------------------------------------------------


def form_of(place, **changes):
    return {
        "site": place.pk,
        "topic": f"{place.code}/weather/roof",
        "version": "",
        "datalogger_type": "weather",
        "datalogger_number": "roof",
        "ts_path": "",
        "values": json.dumps(VALUES),
        "is_active": "on",
    } | changes


def test_a_mapping_is_written_changed_and_deleted(admin, north):
    answer = admin.post(reverse(ADD), form_of(north))
    assert answer.status_code == 302, answer.context["errors"]
    row = TopicMapping.objects.get()
    assert row.values[0]["scale"] == 1.0
    assert MqttTopic.objects.filter(pattern="weather/roof").exists()

    answer = admin.post(reverse(CHANGE, args=[row.pk]), form_of(north, ts_path="$.at"))
    assert answer.status_code == 302, answer.context["errors"]
    row.refresh_from_db()
    assert row.ts_path == "$.at"

    assert admin.get(reverse(CHANGE, args=[row.pk])).status_code == 200
    assert admin.get(reverse(MAPPINGS) + "?q=weather").status_code == 200
    delete = reverse("admin:telemetry_topicmapping_delete", args=[row.pk])
    admin.post(delete, {"post": "yes"})
    assert not TopicMapping.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"values": '[{"path": "t", "key": "t"}]'}, "values"),
        ({"values": "not json"}, "values"),
        ({"values": '"x"'}, "values"),
        ({"values": "{}"}, "values"),
        ({"values": '[{"path": "$", "key": "\\u0000"}]'}, "values"),
        ({"values": '[{"path": "$", "key": "t", "scale": Infinity}]'}, "values"),
        ({"topic": "elsewhere"}, "topic"),
        ({"datalogger_type": "a/b"}, "datalogger_type"),
        ({"datalogger_number": ""}, "datalogger_number"),
        ({"version": "3"}, "topic"),
        ({"ts_path": "x"}, "ts_path"),
        ({"site": ""}, "site"),
    ],
    ids=lambda change: repr(change)[:50],
)
def test_the_form_refuses_what_the_service_refuses(admin, north, change, field):
    answer = admin.post(reverse(ADD), form_of(north, **change))

    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert not TopicMapping.objects.exists()


def test_a_second_mapping_of_a_topic_is_refused(admin, north):
    admin.post(reverse(ADD), form_of(north))

    answer = admin.post(reverse(ADD), form_of(north))

    assert answer.status_code == 200
    assert TopicMapping.objects.count() == 1


def test_what_only_storing_shows_is_said(admin, north):
    MqttTopic.objects.bulk_create(
        MqttTopic(connection=connection_of(north), pattern=f"p/{n}") for n in range(200)
    )

    answer = admin.post(reverse(ADD), form_of(north), follow=True)

    assert "has 200 filters already" in answer.content.decode()
    assert not TopicMapping.objects.exists()
