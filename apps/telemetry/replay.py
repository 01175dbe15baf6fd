"""Reads quarantined messages again, by the rules of today, and stores them. Once.

Each chunk is one transaction: its rows are locked, and marked with what they became. A
second replay, or one at the same time, finds nothing of it left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.core import events
from apps.devices.identities import DeviceIds, MissingRowError
from apps.sites.models import MqttConnection, Site
from apps.telemetry.facts import Bad, Entry, Fact, Message, Unclaimed
from apps.telemetry.ingest import QUARANTINED_BYTES, ensure_partitions, store
from apps.telemetry.models import QuarantinedMessage, QuarantineReason
from apps.telemetry.protocols.decode import decode
from apps.telemetry.protocols.mapped import SiteRules
from apps.telemetry.rows import days_of
from apps.telemetry.rules import site_rules, zone_of

CHUNK = 500  # messages of a transaction; the site's ingest waits that long
CHUNK_BYTES = 2 * 1_048_576
TRIES = 3

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSED = (
    DataError,
    IntegrityError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
)

Progress = Callable[[int], None]


@dataclass(slots=True)
class Replayed:
    """What a replay did, in messages.

    Attributes:
        replayed: understood now and stored.
        still_quarantined: not understood; their reason is the present one.
        skipped: cannot be read again, or somebody else has done so.
    """

    replayed: int = 0
    still_quarantined: int = 0
    skipped: int = 0

    def add(self, other: Replayed) -> None:
        self.replayed += other.replayed
        self.still_quarantined += other.still_quarantined
        self.skipped += other.skipped


@dataclass(frozen=True, slots=True)
class Reader:
    """Decodes quarantined messages of one site."""

    site: Site
    rules: SiteRules

    def entry(self, row: QuarantinedMessage) -> Entry:
        """Return the message as it came, and what it says by today's rules."""
        received_us = (row.received_at - _EPOCH) // timedelta(microseconds=1)
        topic, payload = row.topic.encode(), bytes(row.payload)
        fact: Fact = decode(
            self.site.code,
            topic,
            payload,
            received_us=received_us,
            zone=zone_of(self.site),
            rules=self.rules,
        )
        message = Message(
            shard=0,
            site_id=self.site.pk,
            connection_id=0,
            session=0,
            topic=topic,
            payload=payload,
            qos=row.qos,
            retain=row.retain,
            dup=False,
            mid=0,
            received_us=received_us,
        )
        return Entry(message, fact)


def replay(
    site: Site,
    *,
    ids: Sequence[int] | None = None,
    reason: str = "",
    is_dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> Replayed:
    """Store what of a site's quarantine can be understood now.

    Readings are those of the day on which the message came: without a time of their own
    they get its time of receipt. Devices' presence stays as it is.

    Args:
        site: whose.
        ids: only these messages.
        reason: only those quarantined for this reason.
        is_dry_run: count only.
        progress: is told after each chunk how many messages it was.
    """
    result = Replayed()
    chosen = waiting(site.pk, ids=ids, reason=reason)
    sizes = list(chosen.order_by("received_at", "pk").values_list("pk", "payload_size"))
    if ids is not None:
        result.skipped = len(set(ids)) - len(sizes)
    reader = Reader(site, site_rules(site.pk))
    for chunk in _chunks(sizes):
        result.add(_count(reader, chunk) if is_dry_run else _divide(reader, chunk))
        progress(len(chunk))
    if result.replayed and not is_dry_run:
        channel = events.site_channel(site.pk)
        transaction.on_commit(lambda: events.emit([channel], "resync", {}))
    return result


def waiting(
    site_id: int, *, ids: Sequence[int] | None = None, reason: str = ""
) -> QuerySet[QuarantinedMessage]:
    """Return the messages that were not replayed yet."""
    rows = QuarantinedMessage.objects.filter(site_id=site_id, replayed_at=None)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    return rows.filter(reason=reason) if reason else rows


def is_readable(row: QuarantinedMessage) -> bool:
    """Return whether the row holds the message as it came, whole."""
    is_whole = row.payload_size <= QUARANTINED_BYTES
    return is_whole and row.reason != QuarantineReason.TOPIC_INVALID


def _chunks(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    chunk: list[int] = []
    size = 0
    for pk, payload_size in sizes:
        if chunk and (len(chunk) == CHUNK or size + payload_size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(pk)
        size += payload_size
    if chunk:
        yield chunk


def _count(reader: Reader, ids: list[int]) -> Replayed:
    result = Replayed()
    rows = waiting(reader.site.pk, ids=ids)
    for row in rows:
        if not is_readable(row):
            result.skipped += 1
        elif isinstance(reader.entry(row).fact, (Bad, Unclaimed)):
            result.still_quarantined += 1
        else:
            result.replayed += 1
    return result


def _divide(reader: Reader, ids: list[int]) -> Replayed:
    """Replay a chunk; a message that the database refuses is found and stays."""
    try:
        return _patiently(reader, ids)
    except _REFUSED as error:
        if len(ids) == 1:
            detail = f"{type(error).__name__}: {error}".splitlines()[0]
            _stays(ids[0], QuarantineReason.DATA_ERROR, detail)
            return Replayed(still_quarantined=1)
    middle = len(ids) // 2
    result = _divide(reader, ids[:middle])
    result.add(_divide(reader, ids[middle:]))
    return result


def _patiently(reader: Reader, ids: list[int]) -> Replayed:
    for _ in range(TRIES - 1):
        try:
            return _replay(reader, ids)
        except MissingRowError:  # a device was deleted meanwhile: make it anew
            continue
    return _replay(reader, ids)


def _replay(reader: Reader, ids: list[int]) -> Replayed:
    site_id = reader.site.pk
    rows = list(waiting(site_id, ids=ids).order_by("received_at", "pk"))
    read = {row.pk: reader.entry(row) for row in rows if is_readable(row)}
    good = {pk: entry for pk, entry in read.items() if _is_understood(entry.fact)}
    ensure_partitions(days_of(good.values()))
    with transaction.atomic():
        _hold_ingest(site_id)
        locked = waiting(site_id, ids=list(read)).select_for_update(skip_locked=True)
        ours = set(locked.values_list("pk", flat=True))
        stored = [pk for pk in good if pk in ours]
        entries = [good[pk] for pk in stored]
        duplicates = store(entries, DeviceIds(), presence=False).duplicates
        waiting(site_id, ids=stored).update(replayed_at=timezone.now())
        for row in rows:
            if row.pk in ours and row.pk not in good:
                _note_reason(row, read[row.pk].fact)
        _move_counters(site_id, len(stored), len(duplicates))
    return Replayed(
        replayed=len(stored),
        still_quarantined=len(ours) - len(stored),
        skipped=len(ids) - len(ours),
    )


def _is_understood(fact: Fact) -> bool:
    return not isinstance(fact, (Bad, Unclaimed))


def _hold_ingest(site_id: int) -> None:
    """Let no batch of the site, and no other replay of it, in between.

    Batches hold this row too while they write. Otherwise both would write the same
    devices, sensors and counters, in different orders.
    """
    list(MqttConnection.objects.select_for_update().filter(site_id=site_id))


def _note_reason(row: QuarantinedMessage, fact: Fact) -> None:
    reason, detail = row.reason, "no decoder claims the topic"
    if isinstance(fact, Bad):
        reason, detail = fact.reason, fact.detail
    if (reason, detail) != (row.reason, row.detail):
        _stays(row.pk, reason, detail)


def _stays(pk: int, reason: str, detail: str) -> None:
    QuarantinedMessage.objects.filter(pk=pk, replayed_at=None).update(
        reason=reason, detail=detail.replace("\0", "\\x00")[:300]
    )


def _move_counters(site_id: int, replayed: int, duplicates: int) -> None:
    """Keep received = stored + duplicate + quarantined + dropped."""
    if not replayed:
        return
    with connection.cursor() as cursor:
        # Counters may have been made anew since: then there is nothing to move.
        cursor.execute(
            "UPDATE sites_connectionstats s SET quarantined = quarantined - %(all)s, "
            "stored = stored + %(all)s - %(twice)s, duplicate = duplicate + %(twice)s "
            "FROM sites_mqttconnection c WHERE c.id = s.connection_id "
            "AND c.site_id = %(site)s AND quarantined >= %(all)s",
            {"all": replayed, "twice": duplicates, "site": site_id},
        )
