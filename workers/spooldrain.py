"""Brings what a spool holds into PostgreSQL, in order, a bounded piece at a time.

Whoever owns the shards by now: the messages are acknowledged, so nobody else will bring
them. Each piece is marked in its own transaction; whatever happens, none comes twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import tzinfo

from django.db.utils import DataError, IntegrityError

from apps.sites.models import MqttConnection
from apps.telemetry.facts import Bad, Entry
from apps.telemetry.ingest import Ingest, Written
from apps.telemetry.protocols.decode import decode
from apps.telemetry.rules import zone_of
from apps.telemetry.spoolmarks import AlreadyWrittenError
from workers.dblimits import Limit, limited
from workers.rulebook import RuleBook
from workers.spool import Spool
from workers.spoolrow import Waiting

log = logging.getLogger(__name__)

CHUNK = 1_000  # messages of a step: live ones wait that long
CHUNK_BYTES = 4 * 1_048_576
LIMIT_S = 10.0
REFUSED = (DataError, IntegrityError, ValueError, TypeError, KeyError, OverflowError)


class Drain:
    """Empties one spool; used by the thread that owns it."""

    def __init__(
        self,
        spool: Spool,
        ingest: Ingest,
        rules: RuleBook,
        committed: Callable[[Written], None],
    ) -> None:
        self.spool = spool
        self._ingest = ingest
        self._rules = rules
        self._committed = committed
        self._chunk = CHUNK

    def like(self, spool: Spool) -> Drain:
        """Return one for another spool, used by the same thread."""
        return Drain(spool, self._ingest, self._rules, self._committed)

    def step(self, limit: Limit | None = None) -> bool:
        """Store the next piece; return False when there was none.

        Raises:
            OperationalError and its kin: the database is away, or too slow for a piece
                of this size; the next one is smaller.
        """
        rows = self.spool.oldest(self._chunk, CHUNK_BYTES)
        if not rows:
            return False
        try:
            with limited(limit or Limit(LIMIT_S)):
                self._rules.refresh()
                self._store(rows, self._decoded(rows))
        except BaseException:
            self._chunk = max(1, self._chunk // 4)
            self.spool.is_met = False  # this piece may be stored or not
            raise
        self._chunk = min(CHUNK, self._chunk * 2)
        if not self.spool.load.messages:
            log.info("spool drained messages=%d so far", self.spool.drained)
        return True

    def _decoded(self, rows: list[Waiting]) -> list[Entry]:
        zones = _zones({row.message.connection_id for row in rows})
        return [
            Entry(
                message,
                decode(
                    code,
                    message.topic,
                    message.payload,
                    received_us=message.received_us,
                    zone=zones[message.connection_id],
                    rules=self._rules.of_site(message.site_id),
                )
                if message.connection_id in zones
                else Bad("data_error", "its site was deleted"),  # and is not stored
            )
            for _, _, code, message in rows
        ]

    def _store(self, rows: list[Waiting], entries: list[Entry]) -> None:
        try:
            written = self._ingest.write_batch(
                entries, {}, mark=self.spool.drain_mark(rows).set, is_late=True
            )
        except AlreadyWrittenError:
            self.spool.stored(rows)
        except REFUSED as error:
            self._divide(rows, entries, error)
        else:
            self.spool.stored(rows)
            written.tallies = {}  # counted as received when they were
            self._committed(written)

    def _divide(
        self, rows: list[Waiting], entries: list[Entry], error: Exception
    ) -> None:
        """Find the message that the database refuses, and quarantine it alone."""
        if len(rows) > 1:
            middle = len(rows) // 2
            self._store(rows[:middle], entries[:middle])
            self._store(rows[middle:], entries[middle:])
            return
        if isinstance(entries[0].fact, Bad):
            log.error("spool: not even the quarantine takes it", exc_info=error)
            self.spool.refuse(rows[0])
            self._count_refused(rows[0].message.connection_id)
            return
        log.error(
            "message refused connection_id=%d: %s",
            rows[0].message.connection_id,
            type(error).__name__,
            exc_info=error,
        )
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        self._store(rows, [entries[0]._replace(fact=Bad("data_error", detail[:300]))])

    def _count_refused(self, connection_id: int) -> None:
        """Keep the books balanced: what is in no table counts as dropped."""
        try:
            self._ingest.write_batch([], {}, dropped={connection_id: 1}, is_late=True)
        except REFUSED:
            log.exception("spool: not counted connection_id=%d", connection_id)


def _zones(connection_ids: Iterable[int]) -> dict[int, tzinfo]:
    found = MqttConnection.objects.filter(pk__in=connection_ids).select_related("site")
    return {row.pk: zone_of(row.site) for row in found}
