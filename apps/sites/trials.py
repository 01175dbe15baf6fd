"""Tests of connections: what is to be tried goes to the worker, the answer comes back.

The worker's view of the network is what counts, so the worker does the work. The
settings to try lie in Redis for a minute, encrypted; the task carries an id.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from apps.core.crypto import SecretUnreadableError, decrypt, encrypt
from apps.core.errors import DomainError
from apps.core.redis import RedisError, client, trial_answers_key, trial_key
from apps.sites import commands
from apps.sites.models import MqttConnection
from apps.sites.services import TopicSetting
from apps.sites.trial_words import words_for

TAKE_WITHIN_S = 5  # else nobody looks after the site
ANSWER_WITHIN_S = 20  # the worker's own limit is 15 s
_TTL_S = 60
TAKEN = {"state": "taken"}
BUSY = {"state": "busy"}


class Given(NamedTuple):
    """The settings to try: model fields by name, and what is not a field."""

    site_id: int
    fields: dict[str, Any]
    password: str | None = None  # None: the stored one
    tls_client_key: str | None = None
    topics: list[TopicSetting] | None = None


class NoWorkerError(DomainError):
    code = "no_worker"
    status = 503

    def __init__(self) -> None:
        super().__init__(
            _("No worker took the test: is the site's MQTT worker running?")
        )


class WorkerBusyError(DomainError):
    code = "busy"
    status = 503

    def __init__(self) -> None:
        super().__init__(_("Two tests are running already; try again in 15 seconds"))


class NoAnswerError(DomainError):
    code = "no_answer"
    status = 504

    def __init__(self) -> None:
        super().__init__(_("The worker took the test and did not answer in time"))


class PasswordNeededError(DomainError):
    code = "invalid"

    def __init__(self) -> None:
        text = _(
            "The stored password goes to no other host, port or user name, and not "
            "without TLS; enter it for this test"
        )
        super().__init__(f"password: {text}", fields={"password": [text]})


# -- who asks ------------------------------------------------------------------


def run(row: MqttConnection, given: Given) -> dict[str, Any]:
    """Have settings tried by the site's worker; takes up to 20 s.

    Args:
        row: the stored settings; not changed.
        given: what differs from them.

    Returns:
        `{"ok", "steps"}`, each step with its words in the language of the thread.

    Raises:
        PasswordNeededError: the stored password would go where it does not belong.
        NoWorkerError, WorkerBusyError, NoAnswerError: nothing was found out.
    """
    if needs_password(row, given):
        raise PasswordNeededError
    trial_id = secrets.randbits(53)
    _hand_over(row.site_id, trial_id, given)
    try:
        result = _wait(trial_id, ANSWER_WITHIN_S)
    except RedisError as error:
        raise NoAnswerError from error
    if result is None:
        raise NoAnswerError
    for step in result["steps"]:
        step["detail"] = words_for(step)
    return result


def _hand_over(site_id: int, trial_id: int, given: Given) -> None:
    """Return when the site's worker has taken it; raises as `run` does."""
    try:
        client().set(trial_key(trial_id), _packed(given), ex=_TTL_S)
        if not commands.send_trial(site_id, trial_id, expires_s=TAKE_WITHIN_S):
            raise NoWorkerError
        answer = _wait(trial_id, TAKE_WITHIN_S)
        if answer == BUSY:
            raise WorkerBusyError
        if answer is None:
            client().delete(trial_key(trial_id))
            raise NoWorkerError
    except RedisError as error:
        raise NoWorkerError from error


def _wait(trial_id: int, timeout_s: float) -> dict[str, Any] | None:
    """Wait for the next answer, a second at a time: the client gives up after two."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = client().blpop([trial_answers_key(trial_id)], timeout=1)
        if found:
            answer: dict[str, Any] = json.loads(found[1])
            return answer
    return None


def needs_password(row: MqttConnection, given: Given) -> bool:
    """Return whether the stored password would go where it was not entered for."""
    if given.password is not None or not row.has_password:
        return False
    guarded = ("broker_host", "broker_port", "username")
    moves = any(
        given.fields.get(name, getattr(row, name)) != getattr(row, name)
        for name in guarded
    )
    return moves or (row.use_tls and not given.fields.get("use_tls", True))


def _packed(given: Given) -> str:
    plain = given._asdict()
    if given.topics is not None:
        plain["topics"] = [asdict(topic) for topic in given.topics]
    return encrypt(json.dumps(plain))


# -- who tries -----------------------------------------------------------------


def take(trial_id: int) -> Given | None:
    """Return what is to be tried, once; None when it is too late."""
    packed = client().getdel(trial_key(trial_id))
    if not packed:
        return None
    try:
        plain = json.loads(decrypt(str(packed), what="test"))
    except SecretUnreadableError:
        return None  # a web process with other keys; it says `no_worker`
    if plain["topics"] is not None:
        plain["topics"] = [TopicSetting(**topic) for topic in plain["topics"]]
    return Given(**plain)


def answer(trial_id: int, result: Mapping[str, Any]) -> None:
    """Hand an answer to whoever waits for it."""
    key = trial_answers_key(trial_id)
    client().rpush(key, json.dumps(result))
    client().expire(key, _TTL_S)


def apply(row: MqttConnection, given: Given) -> list[TopicSetting] | None:
    """Change a row in memory to what is to be tried; return its topics, None: its own.

    Raises:
        PasswordNeededError: the row has changed since the test was asked for.
    """
    if needs_password(row, given):
        raise PasswordNeededError
    for name, value in given.fields.items():
        setattr(row, name, value)
    if given.password is not None:
        row.set_password(given.password)
    if given.tls_client_key is not None:
        row.set_tls_client_key(given.tls_client_key)
    return given.topics
