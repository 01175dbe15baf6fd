"""A person publishes: one row, one command to the worker, and waiting for the result.

The row decides: what is not claimed in time is withdrawn before anybody is told that it
was not sent.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain, repeat
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.http import Http404
from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.sites import commands
from apps.sites.models import Command, CommandReason, CommandState, Site, Status
from apps.sites.publish_topics import reply_topic_of
from apps.sites.publishing import QUEUE_S, withdraw
from apps.sites.selectors import connection_statuses

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MAX_MESSAGE_BYTES = 65_536
PUBACK_S = 5  # the worker gives up then; its clock ticks once a second
_WORKER_SAYS_S = 2  # until the row tells what the worker knows
_LOOK_AGAIN_S = (0.005,) * 8 + (0.01,) * 6 + (0.02,) * 10 + (0.05,)  # the last for good


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants published, already validated."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 1
    retain: bool = False
    reply_timeout_s: int | None = None

    @property
    def sha256(self) -> str:
        """Tell this request from another one under the same idempotency key."""
        parts = (self.topic, self.qos, self.retain, self.reply_timeout_s)
        return hashlib.sha256(json.dumps(parts).encode() + self.payload).hexdigest()


class NotConnectedError(DomainError):
    """Nothing can be published now."""

    code = "not_connected"
    status = 409

    def __init__(self, site_id: int) -> None:
        super().__init__(
            _("Site %d is not connected to its broker; nothing was sent") % site_id
        )


class MismatchError(DomainError):
    """The key was used for another request."""

    code = "idempotency_mismatch"
    status = 422

    def __init__(self) -> None:
        super().__init__(
            _("This Idempotency-Key was used for another message; take a new one"),
        )


class NoPubackError(DomainError):
    """Sent, and nobody knows whether it arrived."""

    code = "no_puback"
    status = 504

    def __init__(self, command_id: int) -> None:
        super().__init__(
            _(
                "The broker did not confirm the message in time; it may have arrived "
                "(command %d)"
            )
            % command_id
        )


class RefusedError(DomainError):
    """The broker said no."""

    code = "refused"
    status = 502

    def __init__(self, row: Command) -> None:
        super().__init__(
            _("The broker refused the message: %(why)s (command %(id)d)")
            % {"why": row.detail, "id": row.pk}
        )


class UnavailableError(DomainError):
    """Nobody could send it, and nobody will."""

    status = 503

    def __init__(self, row: Command) -> None:
        self.code = str(row.reason)
        super().__init__(
            _(
                "The message could not be handed to the broker; it was not sent and "
                "will not be (command %d)"
            )
            % row.pk
        )


def publish(user: User, site: Site, wish: Wish, *, key: str | None = None) -> Command:
    """Publish for a person; return the row once the broker has the message.

    Args:
        user: who wants it; kept in the ledger.
        site: whose connection publishes.
        wish: valid for that site.
        key: the same one again answers with the first result and sends nothing.

    Raises:
        NotConnectedError: nothing was sent.
        NoPubackError: it may or may not have arrived.
        RefusedError: the broker said no (MQTT 5).
        UnavailableError: no Redis, no worker, or too much waits; nothing was sent.
        MismatchError: the key belongs to another request.
    """
    row = _earlier(user, site, wish, key)
    is_new = row is None
    if row is None:
        _require_connected(user, site)
        row, is_new = _queue(user, site, wish, key)
    if is_new:
        _hand_over(row)
    return _checked(_settled(row))


def _earlier(user: User, site: Site, wish: Wish, key: str | None) -> Command | None:
    if key is None:
        return None
    row = (
        Command.objects.filter(site=site, user=user, idempotency_key=key)
        .defer("payload")
        .first()
    )
    if row is not None and row.request_sha256 != wish.sha256:
        raise MismatchError
    return row


def _require_connected(user: User, site: Site) -> None:
    known = connection_statuses(user, [site.pk])
    if not known or known[0].status != Status.CONNECTED:
        raise NotConnectedError(site.pk)


def _queue(user: User, site: Site, wish: Wish, key: str | None) -> tuple[Command, bool]:
    """Return the row, and whether it is new: of parallel requests one makes it."""
    until = wish.reply_timeout_s
    try:
        with transaction.atomic():
            row = Command.objects.create(
                site=site,
                user=user,
                username=user.get_username(),
                created_at=Now(),
                expires_at=Now() + timedelta(seconds=QUEUE_S),
                topic=wish.topic,
                payload=wish.payload,
                payload_size=len(wish.payload),
                payload_sha256=hashlib.sha256(wish.payload).hexdigest(),
                qos=wish.qos,
                retain=wish.retain,
                idempotency_key=key,
                request_sha256=wish.sha256,
                reply_topic=reply_topic_of(wish.topic) or "" if until else "",
                reply_until=Now() + timedelta(seconds=until) if until else None,
            )
    except IntegrityError as error:
        earlier = _earlier(user, site, wish, key)
        if earlier is None:  # the site was deleted meanwhile, or the user
            raise Http404 from error
        return earlier, False
    return row, True


def _hand_over(row: Command) -> None:
    if commands.send_publish(row.pk, row.site_id, expires_s=QUEUE_S):
        return
    withdraw(row.pk, CommandReason.NO_WORKER, "Redis was away")


def _settled(row: Command) -> Command:
    """Wait for the result; return the row as it is then, or when nobody tells any."""
    give_up = time.monotonic() + QUEUE_S
    is_claimed = False
    for pause_s in chain(_LOOK_AGAIN_S, repeat(_LOOK_AGAIN_S[-1])):
        row = _reread(row)
        if not is_claimed and row.state != CommandState.QUEUED:
            is_claimed = True
            give_up = time.monotonic() + PUBACK_S + _WORKER_SAYS_S
        if is_settled(row):
            break
        if time.monotonic() >= give_up:
            if is_claimed:
                break
            withdraw(row.pk, CommandReason.NO_WORKER, "No worker took it in time")
        time.sleep(pause_s)
    return row


def _reread(row: Command) -> Command:
    found = Command.objects.filter(pk=row.pk).defer("payload").first()
    if found is None:  # deleted with its site
        raise Http404
    return found


def is_settled(row: Command) -> bool:
    """Whether the row says what became of the message; an answer may come before."""
    if row.state == CommandState.ANSWERED:
        return row.delivered_at is not None
    return row.state not in (CommandState.QUEUED, CommandState.SENT)


def _checked(row: Command) -> Command:
    """Return the row if the broker has the message, else raise what became of it."""
    if row.delivered_at is not None:
        return row
    if row.reason == CommandReason.NOT_CONNECTED:
        raise NotConnectedError(row.site_id)
    if row.reason == CommandReason.REFUSED:
        raise RefusedError(row)
    if row.reason in (CommandReason.NO_WORKER, CommandReason.BUSY):
        raise UnavailableError(row)
    raise NoPubackError(row.pk)
