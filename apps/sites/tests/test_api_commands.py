"""The ledger of commands over the API and in the admin."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.sites.tests.commanding import a_command, awaiting


def path_of(site, rest: str = "") -> str:
    return f"/api/v1/mqtt/sites/{site.pk}/commands/{rest}"


def test_it_lists_a_sites_commands_newest_first(operator, north, hidden):
    now = timezone.now()
    old = a_command(north, created_at=now - timedelta(hours=1))
    new = a_command(north)
    a_command(hidden)

    body = client_of(operator).get(path_of(north)).json()

    assert [row["command_id"] for row in body["commands"]] == [new.pk, old.pk]
    assert body["count"] == 2
    [row] = client_of(operator).get(path_of(north, "?limit=1")).json()["commands"]
    assert row["command_id"] == new.pk


def test_a_command_tells_who_when_what_and_what_became_of_it(operator, north):
    row = awaiting(north, state="answered", reply="ok", payload=b"left over")

    body = client_of(operator).get(path_of(north, f"{row.pk}/")).json()

    assert body == {
        "command_id": row.pk,
        "site_id": north.pk,
        "user_id": None,
        "username": "superuser",
        "created_at": body["created_at"],
        "topic": row.topic,
        "size": 5,
        "sha256": "0" * 64,
        "qos": 1,
        "retain": False,
        "state": "answered",
        "reason": "",
        "detail": "",
        "sent_at": "2026-11-21T12:00:00Z",
        "delivered_at": "2026-11-21T12:00:00Z",
        "puback_ms": 0.0,
        "reply_topic": row.reply_topic,
        "reply_until": "2026-11-21T12:01:00Z",
        "reply": "ok",
        "replied_at": None,
    }


def test_it_can_be_filtered_by_state(operator, north):
    a_command(north)
    delivered = a_command(north, state="delivered")

    rows = client_of(operator).get(path_of(north, "?state=delivered")).json()

    assert [row["command_id"] for row in rows["commands"]] == [delivered.pk]
    assert rows["count"] == 1


@pytest.mark.parametrize("query", ["?state=nope", "?limit=0", "?offset=-1"])
def test_a_query_that_makes_no_sense_is_refused(operator, north, query):
    answer = client_of(operator).get(path_of(north, query))

    assert answer.status_code == 400
    assert is_error(answer.json())


def test_a_viewer_does_not_see_commands(viewer, north):
    row = a_command(north)

    assert client_of(viewer).get(path_of(north)).status_code == 403
    assert client_of(viewer).get(path_of(north, f"{row.pk}/")).status_code == 403


def test_a_command_of_another_site_is_not_there(operator, north, hidden):
    row = a_command(hidden)

    answer = client_of(operator).get(path_of(north, f"{row.pk}/"))

    assert answer.status_code == 404
    assert client_of(operator).get(path_of(north, f"{2**70}/")).status_code == 404


def test_a_page_of_a_thousand_asks_as_often_as_one_of_ten(
    operator, north, django_assert_max_num_queries
):
    for _ in range(20):
        a_command(north)
    client = client_of(operator)

    with django_assert_max_num_queries(6):
        assert len(client.get(path_of(north)).json()["commands"]) == 20


def test_the_admin_shows_them_and_changes_nothing(client, superuser, north):
    row = a_command(north, payload=b"CANARY-77")
    client.force_login(superuser)

    page = client.get(f"/admin/sites/command/{row.pk}/change/")
    found = client.get("/admin/sites/command/", {"q": "monstro", "state": "queued"})

    assert page.status_code == found.status_code == 200
    assert "CANARY-77" not in page.content.decode()
    assert row.topic in found.content.decode()
    assert client.post(f"/admin/sites/command/{row.pk}/delete/").status_code == 403
