"""Channels over HTTP: bounded, checked, and their secrets never come back."""

from __future__ import annotations

import json

import pytest
from django.core import mail
from django.utils import timezone

from apps.alerts.models import Alert, AlertChannel
from apps.alerts.tests.builders import (
    SECRET,
    email_channel,
    receiver,
    webhook_channel,
)
from apps.core.tests.clients import client_of, is_error

URL = "/api/v1/mqtt/alerts/channels/"
HOOK = {
    "kind": "webhook",
    "name": "Hook",
    "target": "https://hooks.example.com/x",
    "secret": SECRET,
}
MAIL = {"kind": "email", "name": "Duty", "target": "duty@example.com"}


@pytest.fixture
def api(superuser):
    return client_of(superuser)


def test_it_stores_a_channel_with_its_defaults(api, north):
    answer = api.post(URL, MAIL, format="json")

    assert answer.status_code == 201
    body = answer.json()
    assert body == {
        "id": body["id"],
        "kind": "email",
        "name": "Duty",
        "target": "duty@example.com",
        "has_secret": False,
        "site_id": None,
        "events": ["connection", "device"],
        "language": "en",
        "is_active": True,
    }
    assert api.get(f"{URL}{body['id']}/").json() == body
    assert api.get(URL).json()["channels"] == [body]


def test_a_secret_goes_in_and_never_comes_out(api, north, caplog):
    caplog.set_level("DEBUG")

    answer = api.post(URL, HOOK | {"site_id": north.pk}, format="json")

    row = AlertChannel.objects.get()
    path = f"{URL}{row.pk}/"
    answers = [answer, api.get(URL), api.get(path), api.patch(path, {}, format="json")]
    assert row.read_secret() == SECRET
    assert SECRET not in row.secret_encrypted
    for one in answers:
        assert one.status_code in (200, 201)
        assert SECRET not in one.content.decode()
        assert row.secret_encrypted not in one.content.decode()
    assert SECRET not in caplog.text


def test_what_is_left_out_stays(api):
    channel = webhook_channel("https://hooks.example.com/x")

    answer = api.patch(f"{URL}{channel.pk}/", {"events": ["device"]}, format="json")

    assert answer.status_code == 200
    channel.refresh_from_db()
    assert (channel.wants_connections, channel.wants_devices) == (False, True)
    assert channel.read_secret() == SECRET
    assert channel.name == "Hook"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (HOOK | {"secret": None}, "secret"),
        ({k: v for k, v in HOOK.items() if k != "secret"}, "secret"),
        (HOOK | {"secret": "short"}, "secret"),
        (HOOK | {"target": "ftp://x/"}, "target"),
        (HOOK | {"target": "https://user:pw@x/"}, "target"),
        (HOOK | {"target": "https://x:99999/"}, "target"),
        (HOOK | {"target": "https://x:0/"}, "target"),
        (HOOK | {"target": "https:///path"}, "target"),
        (HOOK | {"target": "http://[::1/"}, "target"),
        (HOOK | {"target": "https://x/a b"}, "target"),
        (HOOK | {"target": "https://x/a\r\nX: y"}, "target"),
        (HOOK | {"target": "https://x/\ud800"}, "target"),
        (HOOK | {"target": "https://x/\0"}, "target"),
        (HOOK | {"target": "https://x/" + "a" * 1_000}, "target"),
        (MAIL | {"target": "nobody"}, "target"),
        (MAIL | {"target": ","}, "target"),
        (MAIL | {"target": "a@b.it\r\nBcc: c@d.it"}, "target"),
        (MAIL | {"target": ",".join(f"a{n}@b.it" for n in range(21))}, "target"),
        (MAIL | {"name": ""}, "name"),
        (MAIL | {"name": "x" * 101}, "name"),
        (MAIL | {"name": "a\0b"}, "name"),
        (MAIL | {"kind": "pigeon"}, "kind"),
        (MAIL | {"events": []}, "events"),
        (MAIL | {"events": ["weather"]}, "events.0"),
        (MAIL | {"language": "tlh"}, "language"),
        (MAIL | {"site_id": 2**62}, "site_id"),
        (MAIL | {"site_id": 2**70}, "site_id"),
        (MAIL | {"site_id": 0}, "site_id"),
        ({}, "kind"),
    ],
)
def test_it_refuses_what_makes_no_channel(api, body, field):
    answer = api.post(URL, json.dumps(body), content_type="application/json")

    assert answer.status_code == 400, answer.content
    assert is_error(answer.json())
    assert any(name.startswith(field) for name in answer.json()["fields"])
    assert not AlertChannel.objects.exists()


def test_a_mail_channel_cannot_become_a_webhook_without_a_secret(api):
    channel = email_channel()

    answer = api.patch(
        f"{URL}{channel.pk}/",
        {"kind": "webhook", "target": "https://x.example/"},
        format="json",
    )

    assert answer.status_code == 400
    assert set(answer.json()["fields"]) == {"secret"}


def test_a_test_through_a_webhook_arrives_and_says_so(api):
    with receiver() as hook:
        channel = webhook_channel(hook.url)

        answer = api.post(f"{URL}{channel.pk}/test/")

        assert answer.json() == {"success": True, "message": "Test delivered"}
        assert hook.is_signed()
        assert hook.bodies[0]["event"] == "test"


def test_a_test_says_why_it_did_not_arrive(api, settings):
    settings.EMAIL_HOST = ""
    channel = email_channel()

    answer = api.post(f"{URL}{channel.pk}/test/")

    assert answer.status_code == 200
    assert answer.json() == {
        "success": False,
        "message": "e-mail is not configured (EMAIL_URL)",
    }


def test_a_test_mail_is_in_the_channels_language(api, settings):
    settings.EMAIL_HOST = "mail.example.com"
    channel = email_channel(name="Turno\r\n<b>", language="it")

    assert api.post(f"{URL}{channel.pk}/test/").json()["success"] is True

    assert mail.outbox[0].subject == "[Guardiano] Prova"
    assert "Turno <b>" in mail.outbox[0].body


def test_everybody_sees_the_alerts_of_their_sites_and_no_others(
    north, hidden, outsider, viewer, superuser
):
    now = timezone.now()
    for site in (north, hidden):
        Alert.objects.create(
            kind="connection", site=site, subject=site.name, opened_at=now,
            confirmed_at=now,
        )  # fmt: skip
    Alert.objects.create(kind="gateway", site=north, subject="watched", opened_at=now)

    seen = {
        user.username: {
            row["subject"]
            for row in client_of(user).get("/api/v1/mqtt/alerts/").json()["alerts"]
        }
        for user in (outsider, viewer, superuser)
    }

    assert seen == {
        "outsider": {"North"},
        "viewer": {"North", "Hidden"},
        "superuser": {"North", "Hidden"},
    }


def test_the_list_of_alerts_can_be_filtered(north, hidden, viewer):
    now = timezone.now()
    for subject, closed_at in (("open", None), ("over", now)):
        Alert.objects.create(
            kind="connection", site=north, subject=subject, opened_at=now,
            confirmed_at=now, closed_at=closed_at,
        )  # fmt: skip
    client = client_of(viewer)

    def subjects(query: str) -> list[str]:
        answer = client.get(f"/api/v1/mqtt/alerts/?{query}")
        assert answer.status_code == 200, answer.content
        return sorted(row["subject"] for row in answer.json()["alerts"])

    assert subjects("") == ["open", "over"]
    assert subjects("open=true") == ["open"]
    assert subjects("open=false") == ["over"]
    assert subjects(f"site_id={north.pk}&open=") == ["open", "over"]
    assert subjects(f"site_id={hidden.pk}") == []
    assert client.get("/api/v1/mqtt/alerts/?open=perhaps").status_code == 400
    assert client.get("/api/v1/mqtt/alerts/?site_id=x").status_code == 400
    assert client.get(f"/api/v1/mqtt/alerts/?site_id={2**62}").status_code == 404
