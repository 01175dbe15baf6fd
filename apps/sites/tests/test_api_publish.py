"""Publishing over the API: what is said, and that nothing is sent twice or late."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connections
from django.utils import timezone

from apps.core.tests.clients import client_of, is_error
from apps.sites import publish_requests, publishing
from apps.sites.models import Command, CommandReason, CommandState
from apps.sites.publishing import Outgoing, Settled
from apps.sites.services import connection_stop, site_create
from apps.sites.tests.builders import configured, running
from apps.sites.tests.commanding import INPUT, delivered, worker

CANARY = "CANARY-4e1f"


@pytest.fixture(autouse=True)
def _nobody_has_published_yet():
    cache.clear()


def publish(user, site, *, key: str | None = None, **body):
    headers = {"Idempotency-Key": key} if key is not None else {}
    body = {"topic": INPUT.format(site.code), "message": "start"} | body
    return client_of(user).post(
        f"/api/v1/mqtt/sites/{site.pk}/publish/",
        json.dumps(body),
        content_type="application/json",
        headers=headers,
    )


def ended(state: CommandState, reason: CommandReason, detail: str = "why"):
    return lambda outgoing: Settled(
        outgoing.command_id, outgoing.site_id, state, reason, detail
    )


# -- the answer ----------------------------------------------------------------


def test_it_says_it_in_the_documents_words_once_the_broker_has_it(
    superuser, north, monkeypatch
):
    running(north)
    with worker(monkeypatch) as crew:
        answer = publish(superuser, north)

    row = Command.objects.get()
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert body["message"] == "Message published successfully"
    assert (body["command_id"], body["state"]) == (row.pk, "delivered")
    assert body["puback_ms"] == 3.0
    [sent] = crew.sent
    assert (sent.topic, sent.payload) == (INPUT.format(north.code), b"start")
    assert (sent.qos, sent.retain) == (1, False)


def test_the_ledger_keeps_who_when_what_but_not_the_message(
    superuser, north, monkeypatch
):
    running(north)
    with worker(monkeypatch):
        publish(superuser, north, message=CANARY, qos=0, retain=True)

    row = Command.objects.get()
    assert (row.user, row.username, row.site) == (superuser, "superuser", north)
    assert row.payload is None
    assert row.payload_size == len(CANARY)
    assert row.payload_sha256 == hashlib.sha256(CANARY.encode()).hexdigest()
    assert (row.qos, row.retain) == (0, True)
    assert row.expires_at - row.created_at < timedelta(seconds=6)


def test_a_task_carries_an_id_and_expires(superuser, north, monkeypatch):
    running(north)
    with worker(monkeypatch) as crew:
        publish(superuser, north, message=CANARY)

    [(name, args, options)] = crew.tasks
    assert name == "workers.tasks.publish"
    assert args == [Command.objects.get().pk]
    assert options["queue"] == f"mqtt.shard.{north.pk % 2}"
    assert options["expires"] <= 5


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        ("", b""),
        ("già °C", "già °C".encode()),
        ("a\0b", b"a\0b"),
        ('{"a": 1}', b'{"a": 1}'),
        ({"a": [1, 2.5, None], "è": "x y"}, '{"a":[1,2.5,null],"è":"x y"}'.encode()),
        ([1, 2], b"[1,2]"),
        (5, b"5"),
        (-0.5, b"-0.5"),
        (2**80, str(2**80).encode()),
        (True, b"true"),
        (False, b"false"),
        ("x" * 65_536, b"x" * 65_536),
    ],
)
def test_text_goes_as_it_is_and_anything_else_as_compact_json(
    superuser, north, monkeypatch, message, payload
):
    running(north)
    with worker(monkeypatch) as crew:
        answer = publish(superuser, north, message=message)

    assert answer.status_code == 200
    assert crew.sent[0].payload == payload


# -- what is refused -----------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"message": None}, "message"),
        ({"message": "\ud800"}, "message"),
        ({"message": {"a": "\udfff"}}, "message"),
        ({"message": "x" * 65_537}, "message"),
        ({"message": "è" * 32_769}, "message"),
        ({"message": ["x" * 65_536]}, "message"),
        ({"topic": "site_0010/x"}, "topic"),
        ({"topic": "site_00/x"}, "topic"),
        ({"topic": ""}, "topic"),
        ({"topic": None}, "topic"),
        ({"topic": "x" * 1_025}, "topic"),
        ({"topic": ["x"]}, "topic"),
        ({"topic": "a\0b"}, "topic"),
        ({"topic": "\ud800"}, "topic"),
        ({"qos": 2}, "qos"),
        ({"qos": 2**70}, "qos"),
        ({"qos": None}, "qos"),
        ({"retain": "perhaps"}, "retain"),
        ({"reply_timeout_s": 0}, "reply_timeout_s"),
        ({"reply_timeout_s": 301}, "reply_timeout_s"),
        ({"reply_timeout_s": 1.5}, "reply_timeout_s"),
    ],
)
def test_what_cannot_be_published_is_refused_by_field(
    superuser, north, monkeypatch, body, field
):
    running(north)
    with worker(monkeypatch) as crew:
        answer = publish(superuser, north, **body)

    assert answer.status_code == 400, answer.content
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [field]
    assert crew.tasks == []
    assert not Command.objects.exists()


@pytest.mark.parametrize(
    "text", ['{"topic": "x", "message": 1e999}', "[]", "5", "null", "{", ""]
)
def test_a_body_that_is_none_is_refused(superuser, north, text):
    answer = client_of(superuser).post(
        f"/api/v1/mqtt/sites/{north.pk}/publish/", text, content_type="application/json"
    )

    assert answer.status_code == 400
    assert is_error(answer.json())


def test_deeply_nested_messages_are_published_or_refused(superuser, north, monkeypatch):
    running(north)
    text = '{"topic": "%s", "message": %s}'
    with worker(monkeypatch):
        for depth in (900, 990, 1_000, 100_000):
            nested = "[" * depth + "]" * depth
            answer = client_of(superuser).post(
                f"/api/v1/mqtt/sites/{north.pk}/publish/",
                text % (INPUT.format(north.code), nested),
                content_type="application/json",
            )
            assert answer.status_code in (200, 400), depth


def test_a_topic_of_another_site_is_refused_whoever_asks(superuser, north, hidden):
    answer = publish(superuser, north, topic=f"{hidden.code}/x")

    assert answer.status_code == 400


def test_an_operator_may_not_publish(operator, north):
    running(north)

    assert publish(operator, north).status_code == 403


# -- when it cannot be sent ----------------------------------------------------


def test_a_site_that_was_stopped_says_so_at_once_and_keeps_no_row(
    superuser, north, monkeypatch
):
    running(north)
    with worker(monkeypatch) as crew:
        connection_stop(north)
        answer = publish(superuser, north)

    assert answer.status_code == 409
    assert answer.json()["code"] == "not_connected"
    assert is_error(answer.json())
    assert crew.sent == []
    assert not Command.objects.exists()


def test_a_site_that_was_never_connected_says_so(superuser, north):
    configured(north)

    assert publish(superuser, north).json()["code"] == "not_connected"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (("no_puback", "no_puback"), 504),
        (("failed", "refused"), 502),
        (("failed", "not_connected"), 409),
        (("failed", "busy"), 503),
    ],
)
def test_each_end_has_its_status(superuser, north, monkeypatch, end, status):
    running(north)
    state, reason = end
    result = ended(CommandState(state), CommandReason(reason))
    with worker(monkeypatch, result):
        answer = publish(superuser, north)

    assert (answer.status_code, answer.json()["code"]) == (status, reason)
    assert is_error(answer.json())


def test_without_redis_nothing_is_sent_now_or_later(superuser, north, monkeypatch):
    running(north)
    with worker(monkeypatch) as crew:
        crew.is_away = True
        answer = publish(superuser, north)

    assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")
    row = Command.objects.get()
    assert (row.state, row.reason, row.payload) == ("expired", "no_worker", None)


def test_a_command_that_no_worker_takes_is_withdrawn_before_it_says_so(
    superuser, north, monkeypatch
):
    running(north)
    monkeypatch.setattr(publish_requests, "QUEUE_S", 0.3)
    with monkeypatch.context() as patch:
        patch.setattr("celery.current_app.send_task", lambda *_, **__: None)
        answer = publish(superuser, north)

    assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")
    assert Command.objects.get().state == "expired"


def test_a_worker_that_falls_silent_is_no_puback_and_may_still_tell(
    superuser, north, monkeypatch
):
    running(north)
    monkeypatch.setattr(publish_requests, "PUBACK_S", 0.2)
    monkeypatch.setattr(publish_requests, "_WORKER_SAYS_S", 0.1)
    claimed: list[Outgoing] = []

    with worker(monkeypatch, claimed.append):
        answer = publish(superuser, north, key="k")
        assert (answer.status_code, answer.json()["code"]) == (504, "no_puback")
        publishing.settle(delivered(claimed[0]))
        again = publish(superuser, north, key="k")

    assert again.status_code == 200
    assert len(claimed) == 1


def test_a_site_deleted_meanwhile_is_not_there(superuser, north, monkeypatch):
    running(north)

    def delete(outgoing):
        Command.objects.filter(pk=outgoing.command_id).delete()

    with worker(monkeypatch, delete):
        answer = publish(superuser, north)

    assert answer.status_code == 404


# -- idempotency ---------------------------------------------------------------


def test_the_same_key_answers_the_same_and_sends_nothing(superuser, north, monkeypatch):
    running(north)
    with worker(monkeypatch) as crew:
        first = publish(superuser, north, key="k 1")
        connection_stop(north)
        second = publish(superuser, north, key="k 1")

    assert first.json() == second.json()
    assert second.status_code == 200
    assert len(crew.sent) == 1


def test_a_bad_end_is_saved_as_well(superuser, north, monkeypatch):
    running(north)
    result = ended(CommandState.NO_PUBACK, CommandReason.NO_PUBACK)
    with worker(monkeypatch, result) as crew:
        answers = [publish(superuser, north, key="k") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [504, 504]
    assert answers[0].json() == answers[1].json()
    assert len(crew.sent) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"message": "stop"},
        {"qos": 0},
        {"retain": True},
        {"reply_timeout_s": 5},
        {"topic": "{}/x/input"},
    ],
)
def test_the_same_key_for_another_request_is_refused(
    superuser, north, monkeypatch, other
):
    running(north)
    other = {name: _of(north, value) for name, value in other.items()}
    with worker(monkeypatch) as crew:
        publish(superuser, north, key="k")
        answer = publish(superuser, north, key="k", **other)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert is_error(answer.json())
    assert len(crew.sent) == 1


def _of(site, value):
    return value.format(site.code) if isinstance(value, str) else value


def test_a_key_belongs_to_one_user_and_one_site(
    superuser, north, monkeypatch, django_user_model
):
    other = django_user_model.objects.create_superuser("other")
    south = site_create(name="South")
    running(north)
    running(south)
    with worker(monkeypatch) as crew:
        for user, site in ((superuser, north), (other, north), (superuser, south)):
            assert publish(user, site, key="k").status_code == 200

    assert len(crew.sent) == 3


def test_a_key_whose_message_was_not_sent_may_try_again(superuser, north, monkeypatch):
    running(north)
    with worker(monkeypatch) as crew:
        crew.is_away = True
        assert publish(superuser, north, key="k").status_code == 503
        crew.is_away = False
        assert publish(superuser, north, key="k").status_code == 200

    assert len(crew.sent) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "è", " "])
def test_a_key_that_is_none_is_refused(superuser, north, key):
    answer = publish(superuser, north, key=key)

    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["Idempotency-Key"]


@pytest.mark.django_db(transaction=True)
def test_ten_parallel_requests_with_one_key_send_one_message(
    superuser, north, monkeypatch
):
    running(north)

    def post(_: int):
        try:
            return publish(superuser, north, key="k")
        finally:
            connections.close_all()

    with worker(monkeypatch) as crew, ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(post, range(10)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["command_id"] for answer in answers}) == 1
    assert len(crew.sent) == 1
    assert Command.objects.count() == 1


# -- answers of devices --------------------------------------------------------


def test_it_says_where_and_until_when_an_answer_is_expected(
    superuser, north, monkeypatch
):
    running(north)
    with worker(monkeypatch):
        body = publish(superuser, north, reply_timeout_s=30).json()

    row = Command.objects.get()
    assert body["reply_topic"] == INPUT.format(north.code)[:-5] + "output"
    assert row.reply_until
    assert timedelta(seconds=15) < row.reply_until - timezone.now()
    assert publishing.note_replies(
        [(north.pk, row.reply_topic, b"running", timezone.now())]
    ) == [(north.pk, row.pk)]
    seen = client_of(superuser).get(f"/api/v1/mqtt/sites/{north.pk}/commands/{row.pk}/")
    assert (seen.json()["state"], seen.json()["reply"]) == ("answered", "running")


def test_an_answer_is_expected_of_an_input_only(superuser, north):
    answer = publish(superuser, north, topic=f"{north.code}/x", reply_timeout_s=30)

    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["reply_timeout_s"]


# -- bounds and secrets --------------------------------------------------------


def test_a_user_publishes_sixty_times_a_minute(
    superuser, north, django_user_model, monkeypatch
):
    answers = [publish(superuser, north, qos=9).status_code for _ in range(61)]
    other = django_user_model.objects.create_superuser("other")

    assert answers == [400] * 60 + [429]
    refused = publish(superuser, north)
    assert is_error(refused.json())
    assert int(refused.headers["Retry-After"]) <= 60
    assert publish(other, north, qos=9).status_code == 400


def test_the_message_is_in_no_log_no_task_and_no_answer(
    superuser, north, monkeypatch, caplog
):
    running(north)
    caplog.set_level("DEBUG")
    ends = (
        delivered,
        ended(CommandState.FAILED, CommandReason.REFUSED),
        ended(CommandState.NO_PUBACK, CommandReason.NO_PUBACK),
    )
    said = ""
    for result in ends:
        with worker(monkeypatch, result) as crew:
            answer = publish(superuser, north, message=CANARY)
            said += answer.content.decode() + repr(crew.tasks) + repr(crew.sent)
    ledger = client_of(superuser).get(f"/api/v1/mqtt/sites/{north.pk}/commands/")

    assert CANARY not in said + ledger.content.decode() + caplog.text
