"""Messages are published, and the quarantine read again, on a site's pages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.sites import publish_requests
from apps.sites.models import Command, CommandState
from apps.web.tests.conftest import MARKUP
from apps.web.tests.pages import page_of
from apps.web.tests.site_tabs import post, quarantine, url


def test_it_publishes_once_and_shows_the_puback(
    client, connected, superuser, monkeypatch
):
    asked = []

    def publish(user, site, wish, *, key):
        asked.append((wish, key))
        now = timezone.now()
        return Command.objects.create(
            site=site,
            user=user,
            username=user.username,
            topic=wish.topic,
            payload_size=len(wish.payload),
            payload_sha256="0" * 64,
            expires_at=now,
            state=CommandState.DELIVERED,
            sent_at=now,
            delivered_at=now + timedelta(milliseconds=3.5),
        )

    monkeypatch.setattr(publish_requests, "publish", publish)
    client.force_login(superuser)
    form = {
        "topic": "gateway/g/datalogger/a/1/input",
        "message": "start\r\nnow",
        "qos": "1",
        "reply_timeout_s": "5",
        "key": "abc",
    }

    answer = post(client, url(connected, "publish/"), **form).json()
    page = page_of(client.get(answer["url"]))

    [(wish, key)] = asked
    assert wish.topic == f"{connected.code}/gateway/g/datalogger/a/1/input"
    assert (wish.payload, wish.retain, wish.reply_timeout_s) == (
        b"start\nnow",
        False,
        5,
    )
    assert key == "abc"
    assert answer["text"] == "The broker has it, after 3.5 ms"
    assert page.texts.count("PUBACK 3.5 ms") == 2


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"topic": ""}, "topic"),
        ({"topic": "a/+"}, "topic"),
        ({"topic": "a/\x07"}, "topic"),
        ({"topic": "backend/status"}, "topic"),
        ({"topic": "x" * 2_000}, "topic"),
        ({"message": "x" * 65_537}, "message"),
        ({"topic": "a/b", "reply_timeout_s": "5"}, "reply"),
    ],
)
def test_it_keeps_a_wrong_message_and_says_what_is_wrong(
    client, connected, superuser, change, field
):
    form = {"topic": "a/input", "message": MARKUP, "qos": "1"} | change
    client.force_login(superuser)

    response = post(client, url(connected, "publish/"), **form)
    page = page_of(response)

    assert response.status_code == 200
    assert page.problems == []
    assert page.with_attribute("id", f"{field}-error")
    assert not Command.objects.exists()


def test_it_says_that_nothing_was_sent(client, stopped, superuser, worker):
    client.force_login(superuser)

    response = post(
        client, url(stopped, "publish/"), topic="a/input", message="x", qos="1"
    )

    assert response.status_code == 409
    assert not Command.objects.exists()


def test_it_reads_the_quarantine_again(client, connected, superuser):
    good = quarantine(connected, b'{"values": {"t": 1}}')
    bad = quarantine(connected)
    client.force_login(superuser)
    path = url(connected, "quarantine/replay/")

    nothing = post(client, path, which="chosen")
    strange = post(client, path, which="chosen", id=["x", "9" * 40])
    chosen = post(client, path, which="chosen", id=[good.pk, bad.pk])
    rest = post(client, path, which="all", reason="json_invalid")

    assert [nothing.status_code, strange.status_code] == [400, 400]
    assert chosen.json()["text"].startswith("1 understood and stored, 1 still not")
    assert rest.json()["text"].startswith("0 understood and stored, 1 still not")
