"""The writer thread: takes what waits, decodes, stores, has it acknowledged.

Batches form by themselves: what came in while the last one was committed is the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import NamedTuple

from django.db import connection
from django.db.utils import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)

from apps.telemetry.facts import Bad, Entry, Message
from apps.telemetry.ingest import FencedError, Ingest, Written
from apps.telemetry.protocols.decode import decode
from workers.inbox import Inbox
from workers.rulebook import RuleBook

log = logging.getLogger(__name__)

BATCH = 2_000  # beyond, a batch only gets slower and its PUBACKs later
IDLE_S = 0.5
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

# The database is away or not as it should be: the batch is good, try it again.
_AWAY = (
    OperationalError,
    InterfaceError,
    InternalError,
    ProgrammingError,
    NotSupportedError,
)
_REFUSED = (DataError, IntegrityError, ValueError, TypeError, KeyError, OverflowError)


class Context(NamedTuple):
    """What decoding needs to know of a connection's site."""

    code: str
    zone: tzinfo


class Writer:
    """Moves messages from the inbox to the database."""

    def __init__(
        self,
        inbox: Inbox,
        epochs: Mapping[int, int],
        contexts: Mapping[int, Context],
        *,
        acknowledge: Callable[[list[Message]], None],
        committed: Callable[[Written], None],
        fenced: Callable[[set[int]], None],
        timed: Callable[[float], None],
        shown: Callable[[list[Entry]], None],
    ) -> None:
        """Prepare a writer.

        Args:
            inbox: where messages come from.
            epochs: by shard, the leases that are ours; others change it.
            contexts: by connection, what decoding needs; others change it.
            acknowledge: takes the messages that are durable.
            committed: takes what a batch changed.
            fenced: takes the shards that have a newer owner.
            timed: takes how many seconds a batch took, up to its commit.
            shown: takes a stored batch, for people who watch.
        """
        self._inbox = inbox
        self._epochs = epochs
        self._contexts = contexts
        self._acknowledge = acknowledge
        self._committed = committed
        self._fenced = fenced
        self._timed = timed
        self._shown = shown
        self._ingest = Ingest()
        self._rules = RuleBook()
        self._stop = threading.Event()
        self._give_up = threading.Event()
        self._forget = threading.Event()

    def run(self) -> None:
        """Write until stopped and the inbox is empty, or told to give up."""
        while not self._give_up.is_set():
            messages = self._inbox.take(BATCH, IDLE_S)
            if self._forget.is_set():
                self._forget.clear()
                self._ingest.forget_connections()
            dropped = self._inbox.take_dropped()
            if messages or dropped:
                self._write(messages, dropped)
            elif self._stop.is_set():
                break
        connection.close()

    def forget_connections(self) -> None:
        """Call, from any thread, when a shard was taken."""
        self._forget.set()

    def stop(self) -> None:
        """Finish what is in the inbox, then end."""
        self._stop.set()

    def give_up(self) -> None:
        """End now; what is not stored was not acknowledged and comes again."""
        self._give_up.set()

    # -- a batch ---------------------------------------------------------------

    def _write(self, messages: list[Message], dropped: dict[int, int]) -> None:
        self._rules.refresh()
        entries = [
            entry
            for message in messages
            if message.shard in self._epochs
            and (entry := self._decode(message)) is not None
        ]
        try:
            left = self._store(entries, dropped)
            while left:
                left = self._store(left, {})
        finally:
            self._inbox.done(messages)

    def _decode(self, message: Message) -> Entry | None:
        context = self._contexts.get(message.connection_id)
        if context is None:
            return None  # the shard was lost meanwhile
        fact = decode(
            context.code,
            message.topic,
            message.payload,
            received_us=message.received_us,
            zone=context.zone,
            rules=self._rules.of_site(message.site_id),
        )
        return Entry(message, fact)

    def _store(self, entries: list[Entry], dropped: dict[int, int]) -> list[Entry]:
        """Store a batch; return what is left of it when some shards were fenced."""
        try:
            self._store_patiently(entries, dropped)
        except FencedError as error:
            self._inbox.give_back_dropped(dropped)
            self._fenced(error.shards)
            return [e for e in entries if e.message.shard not in error.shards]
        except _REFUSED as error:
            self._inbox.give_back_dropped(dropped)
            self._divide(entries, error)
        return []

    def _store_patiently(self, entries: list[Entry], dropped: dict[int, int]) -> None:
        attempt = 0
        while not self._give_up.is_set():
            began = time.monotonic()
            try:
                written = self._ingest.write_batch(
                    entries, dict(self._epochs), dropped=dropped
                )
            except _AWAY as error:
                connection.close()
                wait_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                log.warning(
                    "batch not stored messages=%d attempt=%d: %s",
                    len(entries),
                    attempt + 1,
                    str(error).strip().splitlines()[0] if str(error) else error,
                )
                attempt += 1
                self._give_up.wait(wait_s)
            else:
                self._timed(time.monotonic() - began)
                self._acknowledge([entry.message for entry in entries])
                self._committed(written)
                self._shown(entries)
                return

    def _divide(self, entries: list[Entry], error: Exception) -> None:
        """Find the message that the database refuses, and quarantine it alone."""
        if len(entries) > 1:
            middle = len(entries) // 2
            for half in (entries[:middle], entries[middle:]):
                left = self._store(half, {})
                while left:
                    left = self._store(left, {})
            return
        if not entries or isinstance(entries[0].fact, Bad):
            raise error  # not even the quarantine takes it: a fault of ours
        log.error(
            "message refused connection_id=%d: %s",
            entries[0].message.connection_id,
            type(error).__name__,
            exc_info=error,
        )
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        self._store([entries[0]._replace(fact=Bad("data_error", detail[:300]))], {})
