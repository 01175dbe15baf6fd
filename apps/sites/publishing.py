"""The ledger of commands: each change of state is one conditional UPDATE.

queued → sent → delivered → answered or no_reply; or expired before it was sent,
failed or no_puback afterwards. Whether something may still be sent is decided by the
database's clock; sending and hearing an answer are timed by the worker that does both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.functions import Now

from apps.core import events
from apps.sites.models import Command, CommandReason, CommandState

log = logging.getLogger(__name__)

QUEUE_S = 5  # a person waits for the answer: later than this nothing is sent
REPLY_BYTES = 4_096  # of an answer are kept
ORPHANED_AFTER_S = 60  # a living worker settles within seconds
KEPT_DAYS = 400  # a year, and a month to look back at it
AT_ONCE = 1_000  # rows of one sweep; the rest is swept by the next one

Output = tuple[int, str, bytes, datetime]  # site, topic, payload, received at (UTC)

# Without an answer yet. `no_reply` too: one that came in time may be stored late.
AWAITING = (CommandState.SENT, CommandState.DELIVERED, CommandState.NO_REPLY)

_CLAIM = """
UPDATE sites_command AS command
   SET state = 'sent', sent_at = %(now)s,
       reply_until = %(now)s + (command.reply_until - command.created_at)
  FROM sites_shardlease AS lease, sites_mqttconnection AS link
 WHERE command.id = %(id)s AND command.state = 'queued'
   AND command.expires_at > clock_timestamp()
   AND lease.shard = %(shard)s AND lease.epoch = %(epoch)s
   AND link.site_id = command.site_id
RETURNING command.site_id, link.id, command.topic, command.payload, command.qos,
          command.retain
"""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A command that its worker has claimed and nobody else will send."""

    command_id: int
    site_id: int
    connection_id: int
    topic: str
    payload: bytes = field(repr=False)
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a claimed command; times are aware UTC, the worker's clock.

    Delivered: `delivered_at` is when PUBACK came, or when a QoS 0 message was written
    to the socket. Otherwise `state`, `reason` and `detail` say why not.
    """

    command_id: int
    site_id: int
    state: CommandState
    reason: CommandReason = CommandReason.NONE
    detail: str = ""
    sent_at: datetime | None = None
    delivered_at: datetime | None = None


def claim(command_id: int, *, shard: int, epoch: int, now: datetime) -> Outgoing | None:
    """Take a queued command to send it, now or never.

    Returns:
        None when it has expired, is somebody else's, or the shard has a newer owner:
        nothing may be sent then.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM, {"id": command_id, "shard": shard, "epoch": epoch, "now": now}
        )
        row = cursor.fetchone()
    if row is None:
        return None
    site_id, connection_id, topic, payload, qos, retain = row
    return Outgoing(
        command_id, site_id, connection_id, topic, bytes(payload), qos, retain
    )


def waiting_site(command_id: int) -> int | None:
    """Return the site of a command that nobody has claimed; None if there is none."""
    rows = Command.objects.filter(pk=command_id, state=CommandState.QUEUED)
    return rows.values_list("site_id", flat=True).first()


def withdraw(command_id: int, reason: CommandReason, detail: str) -> bool:
    """Give up a command that nobody has claimed; True means it will never be sent.

    Its idempotency key is free again: trying once more cannot send it twice.
    """
    queued = Command.objects.filter(pk=command_id, state=CommandState.QUEUED)
    site_id = queued.values_list("site_id", flat=True).first()
    changed = queued.update(
        state=CommandState.EXPIRED,
        reason=reason,
        detail=detail,
        payload=None,
        idempotency_key=None,
    )
    if changed and site_id is not None:
        announce([(site_id, command_id)], CommandState.EXPIRED)
    return bool(changed)


def settle(settled: Settled) -> bool:
    """Write the result of a claimed command; False if it was settled before.

    An answer may have been stored before the PUBACK was: it stays.
    """
    if settled.state == CommandState.DELIVERED:
        return _settle_delivered(settled)
    was_not_sent = settled.state == CommandState.FAILED and settled.reason in (
        CommandReason.NOT_CONNECTED,
        CommandReason.BUSY,
    )
    fields = {"idempotency_key": None} if was_not_sent else {}
    changed = Command.objects.filter(
        pk=settled.command_id, state=CommandState.SENT
    ).update(
        state=settled.state,
        reason=settled.reason,
        detail=settled.detail[:300],
        payload=None,
        **fields,
    )
    return bool(changed)


def _settle_delivered(settled: Settled) -> bool:
    changed = Command.objects.filter(
        pk=settled.command_id,
        state__in=(CommandState.SENT, CommandState.ANSWERED),
        delivered_at=None,
    ).update(
        state=Case(
            When(state=CommandState.SENT, then=Value(CommandState.DELIVERED)),
            default=F("state"),
        ),
        detail=settled.detail[:300],
        sent_at=settled.sent_at,
        delivered_at=settled.delivered_at,
        payload=None,
    )
    return bool(changed)


# -- answers -------------------------------------------------------------------


class Waiting(NamedTuple):
    """A command without an answer yet; it may come between `since` and `until`."""

    command_id: int
    site_id: int
    reply_topic: str
    since: datetime
    until: datetime


def note_replies(outputs: Sequence[Output]) -> list[tuple[int, int]]:
    """Store what devices answered to commands; call it in the batch's transaction.

    Each output answers the oldest command that waits on its topic. One statement when
    no command waits, one more for each that is answered.

    Args:
        outputs: (site, topic, payload, received at) of live messages on `…/output`.

    Returns:
        (site, command) of each that is answered now; `announce` them after the commit.
    """
    if not outputs:
        return []
    answered = []
    for waiting, payload, at in match(outputs, _waiting_for(outputs)):
        Command.objects.filter(pk=waiting.command_id).update(
            state=CommandState.ANSWERED,
            reply=reply_text(payload),
            replied_at=at,
            payload=None,
        )
        answered.append((waiting.site_id, waiting.command_id))
    return answered


def _waiting_for(outputs: Sequence[Output]) -> list[Waiting]:
    """Hold the commands that these may answer, oldest first."""
    rows = (
        Command.objects.select_for_update()
        .filter(
            site_id__in={site_id for site_id, *_ in outputs},
            reply_topic__in={topic for _, topic, *_ in outputs},
            reply_until__gte=min(at for *_, at in outputs),
            replied_at=None,
            state__in=AWAITING,
        )
        .order_by("sent_at", "pk")
    )
    found = rows.values_list("pk", "site_id", "reply_topic", "sent_at", "reply_until")
    return [
        Waiting(pk, site_id, topic, since, until)
        for pk, site_id, topic, since, until in found
        if since and until
    ]


def match(
    outputs: Sequence[Output], waiting: Iterable[Waiting]
) -> Iterator[tuple[Waiting, bytes, datetime]]:
    """Yield which command each output answers: the oldest that waited at its time.

    Pure. An output from before the command was sent is no answer to it.
    """
    open_: dict[tuple[int, str], list[Waiting]] = {}
    for one in waiting:
        open_.setdefault((one.site_id, one.reply_topic), []).append(one)
    for site_id, topic, payload, at in outputs:
        candidates = open_.get((site_id, topic), [])
        for place, one in enumerate(candidates):
            if one.since <= at <= one.until:
                yield candidates.pop(place), payload, at
                break


def reply_text(payload: bytes) -> str:
    """Return an answer as text that PostgreSQL takes, at most 4 KiB of it."""
    text = payload[: REPLY_BYTES + 3].decode("utf-8", "backslashreplace")
    text = text.replace("\0", "\\x00")
    return text.encode()[:REPLY_BYTES].decode("utf-8", "ignore")


# -- time ----------------------------------------------------------------------


def expire_commands(now: datetime) -> dict[str, int]:
    """End what waits in vain, and forget what is older than 400 days; for beat.

    Rows that somebody else holds are left to the next sweep.

    Returns:
        How many commands ended how, by state, and how many were `pruned`.
    """
    never_sent = Command.objects.filter(state=CommandState.QUEUED, expires_at__lt=Now())
    orphaned = Command.objects.filter(
        state=CommandState.SENT, sent_at__lt=now - timedelta(seconds=ORPHANED_AFTER_S)
    )
    unanswered = Command.objects.filter(
        state=CommandState.DELIVERED, reply_until__lt=now, replied_at=None
    )
    ended = {
        CommandState.EXPIRED: _end(
            never_sent,
            state=CommandState.EXPIRED,
            reason=CommandReason.NO_WORKER,
            idempotency_key=None,
        ),
        CommandState.NO_PUBACK: _end(
            orphaned,
            state=CommandState.NO_PUBACK,
            reason=CommandReason.NO_PUBACK,
            detail="The worker ended before it heard from the broker",
        ),
        CommandState.NO_REPLY: _end(unanswered, state=CommandState.NO_REPLY),
    }
    old = Command.objects.filter(created_at__lt=now - timedelta(days=KEPT_DAYS))
    pruned, _ = Command.objects.filter(
        pk__in=list(old.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])
    ).delete()
    for state, rows in ended.items():
        announce(rows, state)
    return {state.value: len(rows) for state, rows in ended.items()} | {
        "pruned": pruned
    }


def _end(rows: QuerySet[Command], **fields: object) -> list[tuple[int, int]]:
    """Write the same end into these rows; return (site, command) of each."""
    with transaction.atomic():
        found = list(
            rows.select_for_update(skip_locked=True)
            .order_by("pk")
            .values_list("site_id", "pk")[:AT_ONCE]
        )
        Command.objects.filter(pk__in=[pk for _, pk in found]).update(
            payload=None, **fields
        )
    return found


def announce(commands: Iterable[tuple[int, int]], state: str) -> None:
    """Tell the sites' pages that (site, command) have this state; after the commit."""
    for site_id, command_id in commands:
        events.emit(
            [events.site_channel(site_id)],
            "command",
            {"command_id": command_id, "state": str(state)},
        )
