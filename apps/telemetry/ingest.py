"""Stores a batch of decoded messages in one fenced transaction.

The hot path of the system: a handful of statements whatever the size of the batch.
Only after `write_batch` has returned may the messages be acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import connection, transaction
from django.utils import timezone

from apps.devices import discovery, updates
from apps.devices.presence import PresenceChange
from apps.devices.updates import DeviceIds
from apps.sites import leases, publishing
from apps.sites.publishing import note_replies
from apps.telemetry import partitions
from apps.telemetry.accounting import Tally, write_tallies
from apps.telemetry.facts import Bad, Entry, Message, Output, Unclaimed
from apps.telemetry.folding import device_news
from apps.telemetry.models import QuarantinedMessage
from apps.telemetry.redelivery import RedeliveryWindow, digest
from apps.telemetry.rollups import mark_due
from apps.telemetry.rows import dates, days_of, descriptions, reading_rows
from apps.telemetry.storing import Moved, insert_readings, move_current

QUARANTINED_BYTES = 65_536  # of a bad payload are kept


class FencedError(Exception):
    """Somebody else owns these shards: nothing was stored, acknowledge nothing."""

    def __init__(self, shards: set[int]) -> None:
        super().__init__(f"shards {sorted(shards)} have a newer owner")
        self.shards = shards


@dataclass(slots=True)
class Written:
    """What a committed batch changed; `current` maps site → sensor → (value, at_us)."""

    tallies: dict[int, Tally] = field(default_factory=dict)
    current: dict[int, dict[int, tuple[float | str | None, int]]] = field(
        default_factory=dict
    )
    presence: list[PresenceChange] = field(default_factory=list)
    answered: list[tuple[int, int]] = field(default_factory=list)  # site, command


class Ingest:
    """The state that batches share: ids, partitions known, what was delivered last.

    Used by one thread. Anything learnt in a batch that fails is forgotten.
    """

    def __init__(self) -> None:
        self._ids = DeviceIds()
        self._days: set[int] = set()
        self._windows: dict[int, RedeliveryWindow] = {}
        self._allowance = discovery.Allowance()

    def forget_connections(self) -> None:
        """Call when a shard was taken: its windows are read anew from the database."""
        self._windows.clear()

    def write_batch(
        self,
        entries: Sequence[Entry],
        epochs: Mapping[int, int],
        *,
        dropped: Mapping[int, int] | None = None,
    ) -> Written:
        """Store a batch, or nothing of it.

        Args:
            entries: decoded messages in the order of receipt; may repeat.
            epochs: by shard, the epoch under which this worker owns it.
            dropped: by connection, QoS 0 messages that had no room.

        Returns:
            What changed, per connection, sensor and device.

        Raises:
            FencedError: a shard has a newer owner.
            OperationalError, InterfaceError: no database; retry the same batch.
            DataError, IntegrityError: a message the database refuses; split the batch.
        """
        try:
            return self._write_again(entries, epochs, dropped or {})
        except BaseException:
            self._ids.forget()
            self._windows.clear()
            raise

    def _write_again(
        self,
        entries: Sequence[Entry],
        epochs: Mapping[int, int],
        dropped: Mapping[int, int],
    ) -> Written:
        try:
            return self._write(entries, epochs, dropped)
        except updates.MissingRowError:  # a device was deleted: make it anew
            self._ids.forget()
            return self._write(entries, epochs, dropped)

    def _write(
        self,
        entries: Sequence[Entry],
        epochs: Mapping[int, int],
        dropped: Mapping[int, int],
    ) -> Written:
        self._ensure_days(entries)
        written = Written()
        delivered: dict[int, dict[int, bytes]] = {}
        with transaction.atomic():
            self._check_fence(entries, epochs)
            known = self._load_windows(entries, dropped)
            fresh = self._drop_repeats(entries, known, delivered, written)
            self._store(fresh, written)
            for connection_id, count in dropped.items():
                if connection_id in known:
                    tally = written.tallies.setdefault(connection_id, Tally())
                    tally.received += count
                    tally.dropped += count
            write_tallies(
                written.tallies,
                {
                    connection_id: self._windows[connection_id].packed_with(mids)
                    for connection_id, mids in delivered.items()
                },
            )
        for connection_id, mids in delivered.items():
            self._windows[connection_id].remember(mids)
        return written

    def _check_fence(self, entries: Sequence[Entry], epochs: Mapping[int, int]) -> None:
        shards = {entry.message.shard for entry in entries}
        held = leases.fence(sorted(shards))
        lost = {shard for shard in shards if held.get(shard) != epochs.get(shard, -1)}
        if lost:
            raise FencedError(lost)

    def _load_windows(
        self, entries: Sequence[Entry], dropped: Mapping[int, int]
    ) -> set[int]:
        """Return the connections that still exist, and know what each delivered last.

        Their rows are held, so that deleting a site waits for the batch.
        """
        wanted = {entry.message.connection_id for entry in entries} | set(dropped)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT c.id, s.delivered FROM sites_mqttconnection c "
                "LEFT JOIN sites_connectionstats s ON s.connection_id = c.id "
                "WHERE c.id = ANY(%s) FOR KEY SHARE OF c"
                if not wanted <= self._windows.keys()
                else "SELECT id, NULL FROM sites_mqttconnection "
                "WHERE id = ANY(%s) FOR KEY SHARE",
                [sorted(wanted)],
            )
            rows = cursor.fetchall()
        for connection_id, stored in rows:
            if connection_id not in self._windows:
                self._windows[connection_id] = RedeliveryWindow(bytes(stored or b""))
        return {row[0] for row in rows}

    def _drop_repeats(
        self,
        entries: Sequence[Entry],
        known: set[int],
        delivered: dict[int, dict[int, bytes]],
        written: Written,
    ) -> list[Entry]:
        fresh: list[Entry] = []
        for entry in entries:
            message = entry.message
            if message.connection_id not in known:
                continue  # the site was deleted
            tally = written.tallies.setdefault(message.connection_id, Tally())
            tally.received += 1
            tally.last_us = max(tally.last_us, message.received_us)
            if message.qos:
                content = digest(message)
                mids = delivered.setdefault(message.connection_id, {})
                window = self._windows[message.connection_id]
                is_repeat = message.dup and (
                    mids.get(message.mid) == content
                    or window.is_repeat(message.mid, content)
                )
                mids[message.mid] = content
                if is_repeat:
                    tally.duplicate += 1
                    continue
            fresh.append(entry)
        return fresh

    def _store(self, entries: list[Entry], written: Written) -> None:
        bad = [entry for entry in entries if isinstance(entry.fact, Bad)]
        stored = store(entries, self._ids)
        written.presence += stored.presence
        for moved in stored.moved:
            site_id = entries[moved.entry].message.site_id
            values = written.current.setdefault(site_id, {})
            values[moved.sensor_id] = (moved.value, moved.at_us)
        _quarantine(bad)
        self._allowance.note(_sightings(entries))
        written.answered += note_replies(_outputs(entries))
        for index, entry in enumerate(entries):
            tally = written.tallies[entry.message.connection_id]
            if isinstance(entry.fact, Bad):
                tally.quarantined += 1
            elif index in stored.duplicates:
                tally.duplicate += 1
            else:
                tally.stored += 1

    def _ensure_days(self, entries: Sequence[Entry]) -> None:
        """Make missing day partitions before the transaction, in ones of their own."""
        missing = days_of(entries) - self._days
        if not missing:
            return
        ensure_partitions(missing)
        self._days |= missing


def ensure_partitions(days: Iterable[int]) -> None:
    """Make what partitions these days lack; call it outside of any transaction."""
    first, last = partitions.window(timezone.now().astimezone(UTC).date())
    partitions.ensure(day for day in dates(days) if first <= day <= last)


class Stored(NamedTuple):
    """What storing changed; `duplicates` are entries of which nothing was new."""

    presence: list[PresenceChange]
    moved: list[Moved]
    duplicates: set[int]


def store(entries: Sequence[Entry], ids: DeviceIds, *, presence: bool = True) -> Stored:
    """Store what these messages say; call it in a transaction.

    Args:
        entries: decoded messages in the order of receipt.
        ids: what is known, and learns.
        presence: False for old messages: they show nothing about the present, and
            only fill what is not known about a device yet.

    Raises:
        MissingRowError: a device was deleted since its id was learnt.
    """
    gateways, dataloggers = device_news(entries)
    updates.ensure_gateways(ids, gateways)
    updates.ensure_dataloggers(ids, dataloggers)
    changes: list[PresenceChange] = []
    if presence:
        changes += updates.write_devices(ids, gateways, dataloggers)
    else:
        updates.fill_dataloggers(ids, dataloggers)
    history, retained = reading_rows(entries, ids)
    duplicates = insert_readings(history)
    moved = move_current([*history, *retained])
    mark_due(history)
    updates.describe_sensors(ids, descriptions(entries, ids))
    return Stored(changes, moved, duplicates)


def _sightings(entries: list[Entry]) -> dict[discovery.Key, discovery.Sighting]:
    """Return the topics that nobody claims, with what was seen of them."""
    found: dict[discovery.Key, discovery.Sighting] = {}
    for message, fact in entries:
        if type(fact) is Unclaimed:
            discovery.see(
                found,
                message.site_id,
                message.topic,
                message.payload,
                qos=message.qos,
                retain=message.retain,
                at_us=message.received_us,
            )
    return found


def _outputs(entries: list[Entry]) -> list[publishing.Output]:
    """Return the answers to commands; a retained one answers nothing of today."""
    return [
        (
            message.site_id,
            message.topic.decode("utf-8"),
            message.payload,
            datetime.fromtimestamp(message.received_us / 1e6, UTC),
        )
        for message, fact in entries
        if type(fact) is Output and not message.retain
    ]


def _quarantine(entries: list[Entry]) -> None:
    rows = []
    for message, fact in entries:
        if type(fact) is Bad:
            rows.append(quarantined(message, fact))
    QuarantinedMessage.objects.bulk_create(rows, batch_size=500)


def quarantined(message: Message, fact: Bad) -> QuarantinedMessage:
    """Return the row that keeps a bad message with its reason."""
    received = datetime.fromtimestamp(message.received_us / 1e6, UTC)
    return QuarantinedMessage(
        site_id=message.site_id,
        received_at=received,
        topic=message.topic.decode("utf-8", "backslashreplace").replace("\0", "\\x00"),
        payload=message.payload[:QUARANTINED_BYTES],
        payload_size=len(message.payload),
        qos=message.qos,
        retain=message.retain,
        reason=fact.reason,
        detail=fact.detail.replace("\0", "\\x00")[:300],
    )
