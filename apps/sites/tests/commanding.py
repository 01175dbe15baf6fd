"""Commands in the ledger, and a worker that takes them without a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from apps.core.shards import shard_of
from apps.sites import publishing
from apps.sites.models import Command, CommandState, Site
from apps.sites.publishing import Outgoing, Settled
from apps.sites.tests.builders import own_shard

INPUT = "{}/gateway/g1/datalogger/monstro/15/input"
OUTPUT = "{}/gateway/g1/datalogger/monstro/15/output"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_command(site: Site, **fields: Any) -> Command:
    """Return a queued command that expects no answer."""
    now = timezone.now()
    given: dict[str, Any] = {
        "username": "superuser",
        "topic": INPUT.format(site.code),
        "payload": b"start",
        "payload_size": 5,
        "payload_sha256": "0" * 64,
        "created_at": now,
        "expires_at": now + timedelta(seconds=5),
    }
    return Command.objects.create(site=site, **given | fields)


def awaiting(site: Site, *, sent_at: datetime = NOON, **fields: Any) -> Command:
    """Return a delivered command that waits a minute for its answer."""
    given: dict[str, Any] = {
        "state": CommandState.DELIVERED,
        "payload": None,
        "sent_at": sent_at,
        "delivered_at": sent_at,
        "reply_topic": OUTPUT.format(site.code),
        "reply_until": sent_at + timedelta(seconds=60),
    }
    return a_command(site, **given | fields)


def claim(row: Command, *, epoch: int | None = None) -> Outgoing | None:
    shard = shard_of(row.site_id, settings.MQTT_SHARDS)
    return publishing.claim(
        row.pk,
        shard=shard,
        epoch=own_shard(row.site) if epoch is None else epoch,
        now=timezone.now(),
    )


def delivered(outgoing: Outgoing | None) -> Settled:
    assert outgoing is not None
    now = timezone.now()
    return Settled(
        outgoing.command_id,
        outgoing.site_id,
        CommandState.DELIVERED,
        sent_at=now,
        delivered_at=now + timedelta(milliseconds=3),
    )


class Crew:
    """Takes every command at once, in the caller's thread, and notes what it sent."""

    def __init__(self, result: Callable[[Outgoing], Settled | None]) -> None:
        self.sent: list[Outgoing] = []
        self.tasks: list[tuple[str, list[Any], dict[str, Any]]] = []
        self.is_away = False  # Redis
        self._result = result

    def send_task(self, name: str, *, args: list[int], **options: Any) -> None:
        self.tasks.append((name, args, options))
        if self.is_away:
            raise OperationalError
        if name != "workers.tasks.publish":
            return
        outgoing = claim(Command.objects.get(pk=args[0]))
        if outgoing is None:
            return
        self.sent.append(outgoing)
        settled = self._result(outgoing)
        if settled is not None:
            publishing.settle(settled)


@contextmanager
def worker(
    monkeypatch: Any, result: Callable[[Outgoing], Settled | None] = delivered
) -> Iterator[Crew]:
    crew = Crew(result)
    with monkeypatch.context() as patch:
        patch.setattr(celery.current_app, "send_task", crew.send_task)
        yield crew
