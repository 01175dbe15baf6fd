"""Deliveries: signed, repeated, given up, said; and no secret where none belongs."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from apps.alerts import sending, webhook
from apps.alerts.models import Alert, AlertDelivery
from apps.alerts.sending import deliver
from apps.alerts.tests.builders import (
    SECRET,
    email_channel,
    receiver,
    webhook_channel,
)
from apps.core.tests.planner import join_by_nested_loops

pytestmark = pytest.mark.django_db

NAUGHTY = 'Hall\r\nBcc: <script>alert("x")</script>\u202e & "sons"'


@pytest.fixture
def hook():
    with receiver() as told:
        yield told


@pytest.fixture
def mails(settings):
    settings.EMAIL_HOST = "mail.example.com"
    settings.DEFAULT_FROM_EMAIL = "guardiano@example.com"
    return mail.outbox


def alert_of(site, subject="North", kind="connection", **fields) -> Alert:
    now = timezone.now()
    known: dict[str, Any] = {
        "opened_at": now - timedelta(seconds=130),
        "confirmed_at": now,
    }
    known |= {"kind": kind, "subject": subject, "cause": "refused"}
    return Alert.objects.create(site=site, **(known | fields))


def delivery_to(channel, alert, event="opened") -> AlertDelivery:
    return AlertDelivery.objects.create(alert=alert, channel=channel, event=event)


def again(row: AlertDelivery) -> None:
    """Come back when the next try is due."""
    row.refresh_from_db()
    deliver(row.next_try_at)
    row.refresh_from_db()


# -- webhooks ------------------------------------------------------------------


def test_a_webhook_gets_a_signed_body(north, hook):
    row = delivery_to(webhook_channel(hook.url), alert_of(north))

    assert deliver(timezone.now()) == 1

    row.refresh_from_db()
    assert (row.state, row.attempts, row.error) == ("delivered", 1, "")
    assert row.delivered_at is not None
    assert hook.is_signed()
    headers, _ = hook.got[0]
    assert headers["X-Guardiano-Delivery"] == str(row.pk)
    [body] = hook.bodies
    assert set(body) == {"event", "alert", "site", "at"}
    assert body["event"] == "opened"
    assert body["site"] == {"id": north.pk, "name": "North", "code": north.code}
    assert body["alert"]["cause"] == "refused"
    assert body["alert"]["opened_at"].endswith("Z")
    assert "not connected since" in body["alert"]["text"]


def test_markup_and_line_breaks_in_names_stay_data(north, hook, mails):
    north.name = NAUGHTY.replace("\r\n", " ")
    north.save()
    alert = alert_of(north, NAUGHTY, "datalogger")
    delivery_to(webhook_channel(hook.url), alert)
    delivery_to(email_channel(), alert)

    assert deliver(timezone.now()) == 2

    assert hook.is_signed()
    assert hook.bodies[0]["alert"]["subject"] == NAUGHTY
    [message] = mails
    assert "\n" not in message.subject
    assert message.to == ["duty@example.com"]
    assert "Bcc" not in message.message()
    assert message.content_subtype == "plain"


def test_a_redirect_is_not_followed(north, hook):
    hook.answer, hook.headers = 307, {"Location": hook.url + "&again=1"}
    row = delivery_to(webhook_channel(hook.url), alert_of(north))

    deliver(timezone.now())

    row.refresh_from_db()
    assert row.error == "redirects are not followed (HTTP 307)"
    assert len(hook.got) == 1


def test_failures_are_repeated_ever_later_then_given_up_and_said(north, hook, caplog):
    hook.answer = 500
    row = delivery_to(webhook_channel(hook.url), alert_of(north))
    waits = []

    for _ in range(5):
        again(row)
        if row.state == "waiting":
            waits.append(round((row.next_try_at - timezone.now()).total_seconds(), -1))

    assert waits == [30, 120, 600, 3_600]
    assert (row.state, row.attempts) == ("given_up", 5)
    assert row.error == "the receiver answered HTTP 500"
    assert "given_up=True" in caplog.text
    assert len(hook.got) == 5
    deliver(timezone.now() + timedelta(days=2))
    assert len(hook.got) == 5


def test_it_arrives_when_the_receiver_is_well_again(north, hook):
    hook.answer = 503
    row = delivery_to(webhook_channel(hook.url), alert_of(north))
    again(row)
    hook.answer = 200

    again(row)

    assert (row.state, row.attempts, row.error) == ("delivered", 2, "")
    assert (
        hook.got[0][0]["X-Guardiano-Delivery"] == hook.got[1][0]["X-Guardiano-Delivery"]
    )


@pytest.mark.parametrize("is_dripping", [False, True])
def test_a_receiver_that_hangs_costs_one_time_limit_for_all(
    north, hook, monkeypatch, is_dripping
):
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.4)
    hook.delay_s, hook.drip = (0.0, True) if is_dripping else (30.0, False)
    channel = webhook_channel(hook.url)
    rows = [delivery_to(channel, alert_of(north)) for _ in range(10)]
    started = time.monotonic()

    deliver(timezone.now())

    assert time.monotonic() - started < 4
    for row in rows:
        row.refresh_from_db()
        assert (row.state, row.attempts) == ("waiting", 1)
        assert row.error == "no answer within 0.4 s"


def is_given_up(url: str) -> bool:
    """Whether a request there ends; if not, it may take an hour."""
    envelope = webhook.Envelope(b"{}", "1", "secret")
    ended = []

    def post() -> None:
        with pytest.raises(webhook.NotDeliveredError, match=r"no answer within 0\.4 s"):
            webhook.post(url, envelope)
        ended.append(True)

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    thread.join(20)
    return bool(ended)


def test_a_receiver_whose_name_took_longer_than_allowed_is_cut_off_as_well(
    hook, monkeypatch
):
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.4)
    look_up = socket.getaddrinfo

    def slowly(*args: Any, **options: Any) -> Any:
        time.sleep(0.8)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    hook.drip = True

    assert is_given_up(hook.url)


def test_a_receiver_that_drips_its_handshake_is_cut_off(monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.4)

    def drip(server: socket.socket) -> None:
        client, _ = server.accept()
        with client, suppress(OSError):  # until the sender has had enough
            client.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB follows
            while True:
                client.sendall(b"\x02")
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=[server], daemon=True).start()

        assert is_given_up(f"https://127.0.0.1:{server.getsockname()[1]}/x")


def test_a_dead_receiver_does_not_keep_the_others_waiting(north, hook):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    alert = alert_of(north)
    dead = delivery_to(webhook_channel(f"http://127.0.0.1:{port}/x"), alert)
    well = delivery_to(webhook_channel(hook.url), alert)

    assert deliver(timezone.now()) == 1

    dead.refresh_from_db()
    well.refresh_from_db()
    assert dead.error == "nothing accepts connections there"
    assert well.state == "delivered"


def test_a_receiver_that_speaks_no_http_is_said_so(north):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            held, _ = server.accept()
            with held:
                held.recv(65_536)
                held.sendall(b"220 mail ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        row = delivery_to(webhook_channel(url), alert_of(north))
        deliver(timezone.now())
        thread.join(10)

    row.refresh_from_db()
    assert row.error == "the answer was not HTTP"


def test_when_the_time_is_up_the_rest_is_left_untried(north, hook, monkeypatch):
    monkeypatch.setattr(sending, "BUDGET_S", -1.0)
    row = delivery_to(webhook_channel(hook.url), alert_of(north))

    deliver(timezone.now())

    row.refresh_from_db()
    assert (row.state, row.attempts, hook.got) == ("waiting", 0, [])


def test_a_secret_that_cannot_be_read_is_said_and_nothing_sent(north, hook, settings):
    row = delivery_to(webhook_channel(hook.url), alert_of(north))
    settings.FIELD_ENCRYPTION_KEYS = ("YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=",)

    deliver(timezone.now())

    row.refresh_from_db()
    assert "cannot be decrypted" in row.error
    assert hook.got == []


def test_no_log_and_no_row_holds_the_secret_or_the_path(north, hook, caplog):
    caplog.set_level("DEBUG")
    hook.answer = 500
    row = delivery_to(webhook_channel(hook.url), alert_of(north))

    again(row)

    for canary in (SECRET, "canary-path"):
        assert canary not in caplog.text
        assert canary not in row.error
        assert canary.encode() not in hook.got[0][1]


def test_a_channel_that_was_switched_off_gets_nothing_more(north, hook):
    channel = webhook_channel(hook.url)
    row = delivery_to(channel, alert_of(north))
    channel.is_active = False
    channel.save()

    deliver(timezone.now())

    row.refresh_from_db()
    assert (row.state, row.error) == ("given_up", "the channel is switched off")


@pytest.mark.django_db(transaction=True)
def test_two_senders_at_once_send_it_once(north, hook):
    hook.delay_s = 0.2
    row = delivery_to(webhook_channel(hook.url), alert_of(north))
    now = timezone.now()

    def one() -> None:
        deliver(now)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    row.refresh_from_db()
    assert row.state == "delivered"
    assert len(hook.got) == 1


def test_a_run_takes_no_more_than_it_may_however_it_is_planned(
    north, hook, monkeypatch
):
    monkeypatch.setattr(sending, "MOST", 2)
    channel = webhook_channel(hook.url)
    for n in range(5):
        delivery_to(channel, alert_of(north, f"device {n}", "datalogger"))
    join_by_nested_loops()

    assert [deliver(timezone.now()) for _ in range(4)] == [2, 2, 1, 0]


# -- e-mail --------------------------------------------------------------------


def test_many_alerts_are_one_mail(north, mails):
    channel = email_channel(target="a@example.com, b@example.com")
    alerts = [alert_of(north, f"device {n}", "datalogger") for n in range(120)]
    for alert in alerts:
        delivery_to(channel, alert)
    gone = alert_of(north, closed_at=timezone.now())
    delivery_to(channel, gone, "closed")

    assert deliver(timezone.now()) == 121

    [message] = mails
    assert message.to == ["a@example.com", "b@example.com"]
    assert message.subject == "[Guardiano] Alerts: 120 new, 1 over"
    assert "device 99" in message.body
    assert "and 21 more" in message.body
    assert not AlertDelivery.objects.exclude(state="delivered").exists()


def test_it_writes_in_the_channels_language_and_the_sites_time(north, mails):
    north.timezone = "Europe/Rome"
    north.save()
    delivery_to(email_channel(language="it"), alert_of(north))

    deliver(timezone.now())

    assert "North: non connesso dal" in mails[0].body
    assert " CE" in mails[0].body  # CET or CEST


def test_without_a_mail_server_it_says_so(north, settings):
    settings.EMAIL_HOST = ""
    row = delivery_to(email_channel(), alert_of(north))

    deliver(timezone.now())

    row.refresh_from_db()
    assert row.error == "e-mail is not configured (EMAIL_URL)"


def test_a_mail_server_that_is_down_is_tried_again(north, settings):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        settings.EMAIL_PORT = closed.getsockname()[1]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_HOST_PASSWORD = "canary-mail"
    channel = email_channel()
    rows = [delivery_to(channel, alert_of(north)) for _ in range(3)]

    deliver(timezone.now())

    for row in rows:
        row.refresh_from_db()
        assert (row.state, row.attempts) == ("waiting", 1)
        assert row.error == "the mail server cannot be used (ConnectionRefusedError)"


def test_a_mail_server_that_refuses_us_is_quoted_without_secrets(north, settings):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            held, _ = server.accept()
            with held:
                held.sendall(b"554 go away\r\n")
                held.recv(1_000)

        thread = threading.Thread(target=refuse)
        thread.start()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.getsockname()
        row = delivery_to(email_channel(), alert_of(north))
        deliver(timezone.now())
        thread.join(10)

    row.refresh_from_db()
    assert row.error == "the mail server refused (554)"
