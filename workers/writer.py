"""The writer thread: takes what waits, decodes, stores, has it acknowledged.

Batches form by themselves: what came in while the last one was committed is the next.
While PostgreSQL is away they go to a spool on disk, which is emptied, piece by piece
between the batches, when it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import tzinfo
from typing import NamedTuple

from django.db import connection
from django.db.utils import (
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)

from apps.telemetry.facts import Bad, Entry, Message
from apps.telemetry.ingest import FencedError, Ingest, Written, count_received
from apps.telemetry.protocols.decode import decode
from apps.telemetry.spoolmarks import AlreadyWrittenError, LiveMark
from workers.dblimits import Limit, limited
from workers.inbox import Inbox
from workers.reach import Reach
from workers.rulebook import RuleBook
from workers.spool import Spool
from workers.spooldrain import LIMIT_S as DRAIN_LIMIT_S
from workers.spooldrain import REFUSED, Drain
from workers.spooldrains import Drains
from workers.standing import Standing

log = logging.getLogger(__name__)

BATCH = 2_000  # beyond, a batch only gets slower and its PUBACKs later
IDLE_S = 0.5
SETTLE_S = 0.1  # in a spool nobody waits for a message
FULL_S = 0.5  # between two looks for room, or for the database
# For all of a batch. One that takes longer on a busy machine comes back from the spool
# in smaller pieces; it is never stored twice.
LIMIT_S = 6.0
LAST_LIMIT_S = 1.5  # when told to end

# The database is away or not as it should be: the batch is good, try it again.
_AWAY = (
    OperationalError,
    InterfaceError,
    InternalError,
    ProgrammingError,
    NotSupportedError,
)


class Context(NamedTuple):
    """What decoding needs to know of a connection's site."""

    code: str
    zone: tzinfo
    is_redelivered: bool = True  # what we do not acknowledge comes again


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
        spool: Spool,
        reach: Reach,
        standing: Standing,
        is_over: Callable[[Message], bool],
        is_void: Callable[[Message], bool],
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
            spool: where messages go while the database is away.
            reach: says whether it is.
            standing: says whether we know who owns our shards.
            is_over: says whether the session of a message has ended.
            is_void: says whether its shard was lost since it came.
        """
        self._inbox = inbox
        self._epochs = epochs
        self._contexts = contexts
        self._acknowledge = acknowledge
        self._committed = committed
        self._fenced = fenced
        self._timed = timed
        self._shown = shown
        self._spool = spool
        self._reach = reach
        self._standing = standing
        self._is_over = is_over
        self._is_void = is_void
        self._owned: dict[int, int] = {}  # the epochs of the batch in hand
        self._ingest = Ingest()
        self._rules = RuleBook()
        own = Drain(spool, self._ingest, self._rules, committed)
        self._drains = Drains(own)
        self._stop = threading.Event()
        self._give_up = threading.Event()
        self._limit = Limit(LIMIT_S)
        self.turns = 0  # read by the watchdog

    def run(self) -> None:
        """Write until stopped and the inbox is empty, or told to give up."""
        self._spool.open()
        while not self._give_up.is_set():
            self.turns += 1
            is_last = self._stop.is_set()  # before the look: all put until then is seen
            has_more = self._drain()
            wait_s = 0.0 if has_more or is_last else IDLE_S
            messages = self._inbox.take(BATCH, wait_s)
            dropped = self._inbox.take_dropped()
            if messages or dropped:
                self._write(messages, dropped)
            elif is_last:
                break
        self._drains.close()
        self._spool.close()
        connection.close()

    def stop(self) -> None:
        """Finish what is in the inbox, then end; what is in the spool stays there."""
        self._reach.hurry()
        self._stop.set()
        self._limit.shorten(LAST_LIMIT_S)

    def give_up(self) -> None:
        """End now; what is not stored was not acknowledged and comes again."""
        self._give_up.set()
        self._limit.shorten(0.0)

    # -- a batch ---------------------------------------------------------------

    def _write(self, messages: list[Message], dropped: dict[int, int]) -> None:
        if not self._reach.is_away:
            began = time.monotonic()
            with self._limited():
                has_answered = self._rules.refresh()
            if not has_answered:
                self._has_failed(began, "no answer about mappings", 0)
        self._owned = dict(self._epochs)
        entries = [
            entry
            for message in messages
            if message.shard in self._owned
            and not self._is_void(message)
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
            self._reach.worked()
            self._inbox.give_back_dropped(dropped)
            lost = {k for k in error.shards if self._owns_as_then(k)}
            if lost:  # not what was taken again meanwhile
                self._fenced(lost)
            return [e for e in entries if e.message.shard not in error.shards]
        except REFUSED as error:
            self._reach.worked()
            self._inbox.give_back_dropped(dropped)
            self._divide(entries, error)
        return []

    def _store_patiently(self, entries: list[Entry], dropped: dict[int, int]) -> None:
        mark: LiveMark | None = None
        tried = 0
        while not self._give_up.is_set():
            self.turns += 1
            if self._may_store():
                mark = mark or self._spool.live_mark()
                began = time.monotonic()
                try:
                    with self._limited():
                        written = self._ingest.write_batch(
                            entries,
                            self._owned,
                            dropped=dropped,
                            mark=mark.set if mark else None,
                        )
                except AlreadyWrittenError:
                    log.info("batch was stored already messages=%d", len(entries))
                    self._is_durable(entries, Written())
                    return
                except _AWAY as error:
                    tried = mark.number if mark else 0
                    self._has_failed(began, error, len(entries))
                else:
                    self._timed(time.monotonic() - began)
                    self._is_durable(entries, written)
                    self._shown(entries)
                    return
            if self._keep(entries, tried):
                self._inbox.give_back_dropped(dropped)
                return
            self._give_up.wait(FULL_S if self._reach.is_away else self._reach.wait_s)

    def _is_durable(self, entries: list[Entry], written: Written) -> None:
        self._reach.worked()
        self._acknowledge([entry.message for entry in entries])
        self._committed(written)

    def _keep(self, entries: list[Entry], tried: int) -> bool:
        """Put a batch into the spool, if the database is away for long enough."""
        if not self._reach.is_away:
            return False
        if self._standing.is_in_doubt or self._standing.is_settling:
            self._standing.look()  # we were frozen: first see whose they are
            return False
        messages = [entry.message for entry in entries]
        self._let_settle(messages)
        messages = [message for message in messages if not self._comes_again(message)]
        pairs = [(m, self._contexts[m.connection_id].code) for m in messages]
        if not self._spool.keep(pairs, tried):
            return False
        self._acknowledge(messages)
        self._committed(Written(tallies=count_received(messages, set())))
        return True

    def _let_settle(self, messages: list[Message]) -> None:
        """Give the network thread time to see that a session is over.

        Who took our sessions while we were frozen, or cut off, has the broker send
        again what lies in our sockets, in front of the end of the session.
        """
        newest_us = max((m.received_us for m in messages), default=0)
        age_s = time.time() - newest_us / 1e6
        if 0.0 <= age_s < SETTLE_S:
            self._give_up.wait(SETTLE_S - age_s)

    def _comes_again(self, message: Message) -> bool:
        """Return whether somebody else gets a message: it belongs into no spool."""
        if not self._owns_as_then(message.shard) or self._is_void(message):
            return True
        is_redelivered = self._contexts[message.connection_id].is_redelivered
        return bool(message.qos and is_redelivered and self._is_over(message))

    def _owns_as_then(self, shard: int) -> bool:
        epoch = self._epochs.get(shard)
        return epoch is not None and epoch == self._owned.get(shard)

    def _may_store(self) -> bool:
        """Return whether the database takes batches; make the spool agree with it."""
        if not self._reach.may_try:
            return False
        if not self._spool.is_met:
            began = time.monotonic()
            try:
                with self._limited():
                    self._spool.meet()
            except _AWAY as error:
                self._has_failed(began, error, 0)
                return False
        return True

    def _has_failed(self, began: float, error: Exception | str, count: int) -> None:
        connection.close()
        self._spool.is_met = False
        words = str(error).strip().splitlines()[0] if str(error) else repr(error)
        if not self._reach.is_away:
            log.warning("batch not stored messages=%d: %s", count, words)
        self._reach.failed(began, words)

    def _limited(self) -> AbstractContextManager[None]:
        """Limit what is done in here; shorter for all that comes after `stop`."""
        self._limit = Limit(LIMIT_S)
        if self._stop.is_set():
            self._limit.shorten(LAST_LIMIT_S)
        return limited(self._limit)

    # -- the spool ---------------------------------------------------------------

    def _drain(self) -> bool:
        """Store a piece of what waits on disk; return whether there may be more."""
        if self._stop.is_set() or not (self._drains.is_due or self._reach.is_away):
            return False
        if not self._may_store():
            return False
        began = time.monotonic()
        try:
            self._limit = Limit(DRAIN_LIMIT_S)
            has_more = self._drains.step(self._limit)
        except _AWAY as error:
            self._has_failed(began, error, 0)
            return False
        self._reach.worked()
        return has_more

    def _divide(self, entries: list[Entry], error: Exception) -> None:
        """Find the message that the database refuses, and quarantine it alone."""
        if len(entries) > 1:
            middle = len(entries) // 2
            for half in (entries[:middle], entries[middle:]):
                left = self._store(half, {})
                while left:
                    left = self._store(left, {})
            return
        if entries and isinstance(entries[0].fact, Bad):
            self._set_aside(entries[0].message, error)
            return
        if not entries:
            raise error  # of counters alone: a fault of ours
        log.error(
            "message refused connection_id=%d: %s",
            entries[0].message.connection_id,
            type(error).__name__,
            exc_info=error,
        )
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        self._store([entries[0]._replace(fact=Bad("data_error", detail[:300]))], {})

    def _set_aside(self, message: Message, error: Exception) -> None:
        """Keep what not even the quarantine takes on disk, where the drain finds it.

        It must not come again and again, nor end the worker: others wait.
        """
        code = self._contexts[message.connection_id].code
        if not self._spool.keep([(message, code)]):
            raise error
        log.critical(
            "not even the quarantine takes a message connection_id=%d; on disk now",
            message.connection_id,
            exc_info=error,
        )
        self._acknowledge([message])
        self._committed(Written(tallies=count_received([message], set())))
