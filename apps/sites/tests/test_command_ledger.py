"""Each change of a command's state happens once, and only from the state before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core import events
from apps.sites import leases, publishing
from apps.sites.models import Command, CommandReason, CommandState
from apps.sites.publishing import Settled
from apps.sites.services import connection_of
from apps.sites.tests.builders import own_shard
from apps.sites.tests.commanding import a_command, awaiting, claim, delivered

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """The events that left for the browsers."""
    heard = []
    monkeypatch.setattr(
        events, "emit", lambda to, event, data: heard.append((to, event, dict(data)))
    )
    return heard


def failed(row: Command, reason: CommandReason, detail: str = "why") -> Settled:
    return Settled(row.pk, row.site_id, CommandState.FAILED, reason, detail)


def lost(row: Command) -> Settled:
    return Settled(
        row.pk, row.site_id, CommandState.NO_PUBACK, CommandReason.NO_PUBACK, "why"
    )


# -- claiming ------------------------------------------------------------------


def test_a_queued_command_is_claimed_once(north):
    row = a_command(north)

    first, second = claim(row), claim(row)

    assert first is not None
    assert (first.topic, first.payload, first.qos) == (row.topic, b"start", 1)
    assert first.connection_id == connection_of(north).pk
    assert second is None
    row.refresh_from_db()
    assert row.state == "sent"
    assert row.sent_at is not None


def test_an_expired_command_is_not_claimed(north):
    row = a_command(north, expires_at=timezone.now() - timedelta(milliseconds=1))

    assert claim(row) is None
    row.refresh_from_db()
    assert row.state == "queued"


def test_a_withdrawn_command_is_not_claimed(north):
    row = a_command(north)
    assert publishing.withdraw(row.pk, CommandReason.NO_WORKER, "why")

    assert claim(row) is None


def test_the_old_owner_of_a_shard_claims_nothing(north):
    row = a_command(north)
    old = own_shard(north, ttl_s=-1)
    leases.take(north.pk % 2, "somebody else")

    assert claim(row, epoch=old) is None


def test_the_time_for_an_answer_begins_when_it_is_sent(north):
    queued_at = timezone.now() - timedelta(seconds=3)
    row = a_command(
        north, created_at=queued_at, reply_until=queued_at + timedelta(seconds=10)
    )

    claim(row)

    row.refresh_from_db()
    assert row.reply_until == row.sent_at + timedelta(seconds=10)  # type: ignore[operator]


def test_the_payload_is_in_no_repr(north):
    outgoing = claim(a_command(north, payload=b"CANARY"))

    assert "CANARY" not in repr(outgoing)


# -- withdrawing ---------------------------------------------------------------


def test_a_claimed_command_cannot_be_withdrawn(north, said):
    row = a_command(north, idempotency_key="k")
    claim(row)

    assert not publishing.withdraw(row.pk, CommandReason.NO_WORKER, "why")
    row.refresh_from_db()
    assert (row.state, row.idempotency_key) == ("sent", "k")
    assert said == []


def test_what_is_withdrawn_frees_its_key_and_forgets_its_payload(north, said):
    row = a_command(north, idempotency_key="k")

    publishing.withdraw(row.pk, CommandReason.NO_WORKER, "why")

    row.refresh_from_db()
    assert (row.state, row.reason, row.detail) == ("expired", "no_worker", "why")
    assert (row.idempotency_key, row.payload, row.payload_size) == (None, None, 5)
    assert said == [
        (
            [f"site-{north.pk}"],
            "command",
            {"command_id": row.pk, "state": "expired"},
        )
    ]


# -- settling ------------------------------------------------------------------


def test_a_delivered_command_knows_when_and_forgets_its_payload(north):
    row = a_command(north, idempotency_key="k")
    outgoing = claim(row)

    assert publishing.settle(delivered(outgoing))

    row.refresh_from_db()
    assert (row.state, row.payload, row.idempotency_key) == ("delivered", None, "k")
    assert row.puback_ms == 3.0


def test_a_result_counts_once(north):
    row = a_command(north)
    outgoing = claim(row)
    publishing.settle(lost(row))

    assert not publishing.settle(delivered(outgoing))
    assert not publishing.settle(failed(row, CommandReason.REFUSED))
    row.refresh_from_db()
    assert (row.state, row.delivered_at) == ("no_puback", None)


def test_a_command_that_nobody_claimed_cannot_be_settled(north):
    row = a_command(north)

    assert not publishing.settle(failed(row, CommandReason.REFUSED))
    row.refresh_from_db()
    assert row.state == "queued"


@pytest.mark.parametrize(
    ("reason", "key"),
    [
        (CommandReason.NOT_CONNECTED, None),
        (CommandReason.BUSY, None),
        (CommandReason.REFUSED, "k"),
    ],
)
def test_only_what_was_not_sent_frees_its_key(north, reason, key):
    row = a_command(north, idempotency_key="k")
    claim(row)

    publishing.settle(failed(row, reason, "w" * 500))

    row.refresh_from_db()
    assert (row.state, row.reason, row.idempotency_key) == ("failed", reason, key)
    assert row.payload is None
    assert len(row.detail) == 300


def test_an_answer_before_the_puback_stays_and_the_puback_is_noted(north):
    row = a_command(
        north,
        reply_topic=f"{north.code}/x/output",
        reply_until=timezone.now() + MINUTE,
    )
    outgoing = claim(row)
    publishing.note_replies([(north.pk, row.reply_topic, b"ok", timezone.now())])

    assert publishing.settle(delivered(outgoing))

    row.refresh_from_db()
    assert (row.state, row.reply, row.payload) == ("answered", "ok", None)
    assert row.delivered_at is not None


# -- the sweep -----------------------------------------------------------------


def test_the_sweep_ends_what_waits_in_vain(north, said):
    now = timezone.now()
    never_sent = a_command(north, expires_at=now - MINUTE, idempotency_key="k")
    orphaned = a_command(north, state="sent", sent_at=now - timedelta(seconds=61))
    unanswered = awaiting(north, sent_at=now - 2 * MINUTE)

    done = publishing.expire_commands(now)

    assert done == {"expired": 1, "no_puback": 1, "no_reply": 1, "pruned": 0}
    states = []
    for row in (never_sent, orphaned, unanswered):
        row.refresh_from_db()
        states.append((row.state, row.reason, row.payload))
    assert states == [
        ("expired", "no_worker", None),
        ("no_puback", "no_puback", None),
        ("no_reply", "", None),
    ]
    assert never_sent.idempotency_key is None
    assert [data["state"] for _, _, data in said] == [
        "expired",
        "no_puback",
        "no_reply",
    ]


def test_the_sweep_leaves_what_may_still_come(north, said):
    now = timezone.now()
    a_command(north)
    a_command(north, state="sent", sent_at=now - timedelta(seconds=59))
    awaiting(north, sent_at=now - timedelta(seconds=59))
    awaiting(north, sent_at=now - 2 * MINUTE, reply_until=None, reply_topic="")
    a_command(north, state="answered", replied_at=now, reply_until=now - MINUTE)

    assert set(publishing.expire_commands(now).values()) == {0}
    assert said == []


def test_the_sweep_forgets_commands_after_400_days(north):
    now = timezone.now()
    a_command(north, state="delivered", created_at=now - timedelta(days=401))
    kept = a_command(north, state="delivered", created_at=now - timedelta(days=399))

    assert publishing.expire_commands(now)["pruned"] == 1
    assert list(Command.objects.all()) == [kept]
