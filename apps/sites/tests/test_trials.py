"""Tests of connections: what the worker is told, what comes back, what stays here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import translation

from apps.core import redis
from apps.core.redis import RedisError, trial_key
from apps.core.redis import client as redis_client
from apps.core.tests.clients import client_of, is_error
from apps.sites import commands, trials
from apps.sites.models import MqttConnection, Site
from apps.sites.services import connection_configure, connection_of
from apps.sites.trial_words import Problem, name_of, words_for
from apps.sites.trials import Given

CANARY = "CANARY-81c0"
GOOD: dict[str, Any] = {
    "ok": True,
    "steps": [
        {
            "name": "dns",
            "ok": True,
            "ms": 1.5,
            "problem": "",
            "addresses": ["127.0.0.1"],
        },
        {"name": "tls", "ok": None, "ms": 0.0, "problem": ""},
    ],
}
BAD: dict[str, Any] = {
    "ok": False,
    "steps": [
        {"name": "tcp", "ok": False, "ms": 1.5, "problem": "refused", "port": 1883}
    ],
}


@pytest.fixture
def row(north: Site) -> MqttConnection:
    fields = {"broker_host": "broker.example.com", "username": "u", "use_tls": True}
    return connection_configure(connection_of(north), fields=fields, password=CANARY)


class Worker:
    """Takes tests as the site's worker does, and answers what it is told to."""

    def __init__(self) -> None:
        self.given: list[Given] = []
        self.says: list[dict[str, Any]] = [trials.TAKEN, GOOD]
        self.is_there = True
        self.stored: list[str] = []

    def send_trial(self, site_id: int, trial_id: int, *, expires_s: int) -> bool:
        assert expires_s == trials.TAKE_WITHIN_S
        self.stored.append(str(redis_client().get(trial_key(trial_id))))
        if self.is_there:
            threading.Thread(target=self._take, args=[trial_id]).start()
        return True

    def _take(self, trial_id: int) -> None:
        given = trials.take(trial_id)
        assert given is not None
        assert trials.take(trial_id) is None  # nobody else may
        self.given.append(given)
        for said in self.says:
            trials.answer(trial_id, said)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """One that has all the time it needs; see `impatient`."""
    worker = Worker()
    monkeypatch.setattr(commands, "send_trial", worker.send_trial)
    monkeypatch.setattr(trials, "TAKE_WITHIN_S", 30)
    monkeypatch.setattr(trials, "ANSWER_WITHIN_S", 30)
    monkeypatch.setattr(redis, "_ANSWER_TIMEOUT_S", 30)
    redis_client.cache_clear()
    yield worker
    redis_client.cache_clear()


@pytest.fixture
def impatient(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """For those that wait in vain."""
    monkeypatch.setattr(trials, "TAKE_WITHIN_S", 2)
    monkeypatch.setattr(trials, "ANSWER_WITHIN_S", 2)


@pytest.fixture
def post(superuser, row) -> Callable[..., Any]:
    path = f"/api/v1/mqtt/sites/{row.site_id}/test/"

    def send(body: dict[str, Any] | None = None, **headers: str) -> Any:
        text = json.dumps(body) if body is not None else ""
        return client_of(superuser).generic(
            "POST", path, text, content_type="application/json", headers=headers
        )

    return send


def test_without_a_body_the_stored_settings_are_tried(post, worker, row):
    answer = post()

    assert answer.status_code == 200
    assert answer.json()["ok"] is True
    first, skipped = answer.json()["steps"]
    assert first == {**GOOD["steps"][0], "detail": "127.0.0.1"}
    assert (skipped["ok"], skipped["detail"]) == (None, "")
    assert worker.given == [Given(row.site_id, {})]


def test_other_settings_are_tried_without_being_saved(post, worker, row):
    answer = post(
        {
            "broker_host": "new.example.com",
            "password": "other",
            "topics": [{"pattern": "a/#", "qos": 0}],
        }
    )

    assert answer.status_code == 200
    [given] = worker.given
    assert given.fields == {"broker_host": "new.example.com"}
    assert given.password == "other"
    assert given.topics is not None
    assert [topic.pattern for topic in given.topics] == ["a/#"]
    row.refresh_from_db()
    assert row.broker_host == "broker.example.com"
    assert row.topics.count() == 9


def test_what_is_to_be_tried_is_encrypted_on_its_way(post, worker):
    post({"password": CANARY, "broker_host": "new.example.com"})

    assert CANARY not in worker.stored[0]
    assert "new.example.com" not in worker.stored[0]


@pytest.mark.parametrize(
    "moved",
    [
        {"broker_host": "evil.example.com"},
        {"broker_port": 1},
        {"username": "other"},
        {"use_tls": False},
    ],
)
def test_the_stored_password_goes_nowhere_else(post, worker, moved):
    answer = post(moved)

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert "password" in answer.json()["fields"]
    assert worker.stored == []
    assert post({**moved, "password": "entered"}).status_code == 200
    assert post({**moved, "password": None}).status_code == 200
    assert [given.password for given in worker.given] == ["entered", ""]


def test_the_worker_looks_again_in_case_the_row_has_changed(row):
    """Between the question and the test somebody may have stored another host."""
    given = Given(row.site_id, {"broker_host": "broker.example.com"})
    row.broker_host = "moved.example.com"

    with pytest.raises(trials.PasswordNeededError):
        trials.apply(row, given)


def test_the_same_place_needs_no_password(post, worker):
    answer = post({"broker_host": "broker.example.com", "keepalive": 30})

    assert answer.status_code == 200
    assert worker.given[0].password is None


@pytest.mark.parametrize(
    "body",
    [
        {"broker_port": 2**63},
        {"broker_host": "a b"},
        {"broker_host": "x\0y", "password": ""},
        {"username": "\ud800", "password": ""},
        {"password": "\ud800"},
        {"keepalive": 1},
        {"topics": [{"pattern": "/x"}]},
        {"tls_ca": "no PEM"},
        ["a", "list"],
    ],
)
def test_what_cannot_be_settings_is_refused(post, worker, body):
    answer = post(body)

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert worker.stored == []


@pytest.mark.usefixtures("impatient")
def test_nobody_who_takes_it_is_said(post, worker):
    worker.is_there = False

    answer = post()

    assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")


def test_a_busy_worker_is_said(post, worker):
    worker.says = [trials.BUSY]

    answer = post()

    assert (answer.status_code, answer.json()["code"]) == (503, "busy")


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_never_answers_is_said(post, worker):
    worker.says = [trials.TAKEN]

    answer = post()

    assert (answer.status_code, answer.json()["code"]) == (504, "no_answer")


def test_a_redis_that_goes_after_the_test_was_taken_is_no_lack_of_a_worker(
    post, worker, monkeypatch
):
    def wait(_trial_id: int, timeout_s: float) -> dict[str, Any]:
        if not taken:
            raise RedisError
        return taken.pop()

    taken = [trials.TAKEN]
    monkeypatch.setattr(trials, "_wait", wait)

    answer = post()

    assert (answer.status_code, answer.json()["code"]) == (504, "no_answer")


def test_a_failure_says_what_to_do_in_the_readers_language(post, worker):
    worker.says = [trials.TAKEN, BAD]

    english = post().json()["steps"][0]["detail"]
    italian = post(**{"accept-language": "it"}).json()["steps"][0]["detail"]

    assert "1883" in english
    assert "1883" in italian
    assert english != italian


@pytest.mark.parametrize("language", ["en", "it"])
@pytest.mark.parametrize("problem", list(Problem))
def test_every_problem_has_its_words(problem, language):
    with translation.override(language):
        words = words_for({"name": "tcp", "ok": False, "problem": problem})

    assert len(words) > 20
    assert "%(" not in words
    assert not words.endswith(".")


# -- for operators -------------------------------------------------------------


def test_the_command_prints_each_step(worker, row, capsys):
    call_command("mqtt_test", row.site.code)

    out = capsys.readouterr().out
    assert name_of("dns") in out
    assert "127.0.0.1" in out


def test_the_command_ends_with_1_when_it_does_not_work(worker, row, capsys):
    worker.says = [trials.TAKEN, BAD]

    with pytest.raises(SystemExit) as ended:
        call_command("mqtt_test", str(row.site_id))

    assert ended.value.code == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.usefixtures("impatient")
def test_the_command_ends_with_2_when_nothing_was_found_out(worker, row):
    worker.is_there = False

    with pytest.raises(CommandError) as ended:
        call_command("mqtt_test", row.site.code)

    assert ended.value.returncode == 2


def test_the_command_knows_no_other_sites(db):
    with pytest.raises(CommandError, match="no site"):
        call_command("mqtt_test", "nowhere")


# -- in the admin --------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_the_admin_shows_the_steps(client, superuser, worker, row):
    client.force_login(superuser)
    change = client.get(reverse("admin:sites_mqttconnection_change", args=[row.pk]))
    assert 'href="test/"' in change.content.decode()
    page = reverse("admin:sites_mqttconnection_test", args=[row.pk])
    assert page == f"/admin/sites/mqttconnection/{row.pk}/change/test/"
    assert client.get(page).status_code == 200
    assert worker.given == []  # looking tries nothing

    answer = client.post(page)

    text = answer.content.decode()
    assert "127.0.0.1" in text
    assert "<script>" not in text
    worker.is_there = False
    assert "No worker" in client.post(page).content.decode()


def test_the_admins_test_is_the_superusers(client, operator, row):
    operator.is_staff = True
    operator.save()
    client.force_login(operator)
    page = reverse("admin:sites_mqttconnection_test", args=[row.pk])

    assert client.post(page).status_code == 403
