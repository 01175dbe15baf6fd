"""Stores a batch of decoded messages in one fenced transaction.

The hot path of the system: a handful of statements whatever the size of the batch.
Only after `write_batch` has returned may the messages be acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import connection, transaction
from django.utils import timezone

from apps.core.prepared import Prepared
from apps.devices import discovery, identities, updates
from apps.devices.identities import DeviceIds
from apps.devices.presence import PresenceChange
from apps.sites import leases, publishing
from apps.sites.publishing import note_replies
from apps.telemetry import partitions, redelivery
from apps.telemetry.accounting import Tally, write_tallies
from apps.telemetry.facts import Bad, Entry, Message, Output, Unclaimed
from apps.telemetry.folding import device_news
from apps.telemetry.models import QuarantinedMessage
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
    """The state that batches share: ids and partitions known.

    Used by one thread. Anything learnt in a batch that fails is forgotten.
    """

    def __init__(self) -> None:
        self._ids = DeviceIds()
        self._days: set[int] = set()
        self._allowance = discovery.Allowance()

    def write_batch(
        self,
        entries: Sequence[Entry],
        epochs: Mapping[int, int],
        *,
        dropped: Mapping[int, int] | None = None,
        mark: Callable[[], None] | None = None,
        is_late: bool = False,
    ) -> Written:
        """Store a batch, or nothing of it.

        Args:
            entries: decoded messages in the order of receipt; may repeat.
            epochs: by shard, the epoch under which this worker owns it.
            dropped: by connection, QoS 0 messages that had no room.
            mark: is called last in the transaction; may be called again in another.
            is_late: it waited in a spool and is acknowledged: it is stored whoever
                owns the shards, and nothing newer goes back to what it says.

        Returns:
            What changed, per connection, sensor and device.

        Raises:
            FencedError: a shard has a newer owner.
            OperationalError, InterfaceError: no database; retry the same batch.
            DataError, IntegrityError: a message the database refuses; split the batch.
        """
        try:
            return self._write_again(entries, epochs, dropped or {}, mark, is_late)
        except BaseException:
            self._ids.forget()
            raise

    def _write_again(
        self,
        entries: Sequence[Entry],
        epochs: Mapping[int, int],
        dropped: Mapping[int, int],
        mark: Callable[[], None] | None,
        is_late: bool,
    ) -> Written:
        try:
            return self._write(entries, epochs, dropped, mark, is_late)
        except identities.MissingRowError:  # a device was deleted: make it anew
            self._ids.forget()
            return self._write(entries, epochs, dropped, mark, is_late)

    def _write(
        self,
        entries: Sequence[Entry],
        epochs: Mapping[int, int],
        dropped: Mapping[int, int],
        mark: Callable[[], None] | None,
        is_late: bool,
    ) -> Written:
        self._ensure_days(entries)
        written = Written()
        with transaction.atomic():
            if not is_late:
                self._check_fence(entries, epochs)
            wanted = {entry.message.connection_id for entry in entries} | set(dropped)
            known = hold_connections(wanted, alone=is_late)
            if len(known) < len(wanted):  # a site was deleted
                entries = [e for e in entries if e.message.connection_id in known]
            messages = [entry.message for entry in entries]
            repeats = redelivery.find_repeats(messages, is_late=is_late)
            written.tallies = count_received(messages, repeats)
            self._store(
                [e for place, e in enumerate(entries) if place not in repeats]
                if repeats
                else entries,
                written,
                is_late=is_late,
            )
            for connection_id in dropped.keys() & known:
                tally = written.tallies.setdefault(connection_id, Tally())
                tally.received += dropped[connection_id]
                tally.dropped += dropped[connection_id]
            write_tallies(written.tallies, redelivery.pack(messages, repeats))
            if mark is not None:
                mark()
        return written

    def _check_fence(self, entries: Sequence[Entry], epochs: Mapping[int, int]) -> None:
        shards = {entry.message.shard for entry in entries}
        held = leases.fence(sorted(shards))
        lost = {shard for shard in shards if held.get(shard) != epochs.get(shard, -1)}
        if lost:
            raise FencedError(lost)

    def _store(
        self, entries: Sequence[Entry], written: Written, *, is_late: bool
    ) -> None:
        bad = [entry for entry in entries if isinstance(entry.fact, Bad)]
        stored = store(entries, self._ids, is_late=is_late)
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


def hold_connections(connection_ids: Iterable[int], *, alone: bool = False) -> set[int]:
    """Return those that still exist; deleting their sites waits for the transaction.

    Args:
        connection_ids: those to look for.
        alone: no other batch of theirs in between; of late messages, since their
            writer is not the one of the connection.
    """
    with connection.cursor() as cursor:
        (_HOLD_ALONE if alone else _HOLD).execute(cursor, [sorted(connection_ids)])
        return {row[0] for row in cursor.fetchall()}


_CONNECTIONS = (
    "SELECT id FROM sites_mqttconnection WHERE id = ANY(%s::bigint[]) ORDER BY id"
)
_HOLD = Prepared("hold", f"{_CONNECTIONS} FOR KEY SHARE")
_HOLD_ALONE = Prepared("hold_alone", f"{_CONNECTIONS} FOR UPDATE")


def count_received(messages: Sequence[Message], repeats: set[int]) -> dict[int, Tally]:
    """Return the tallies by connection, with what came and what came again."""
    tallies: dict[int, Tally] = {}
    for message in messages:
        tally = tallies.get(message.connection_id)
        if tally is None:
            tally = tallies[message.connection_id] = Tally()
        tally.received += 1
        tally.last_us = max(tally.last_us, message.received_us)
    for place in repeats:
        tallies[messages[place].connection_id].duplicate += 1
    return tallies


def ensure_partitions(days: Iterable[int]) -> None:
    """Make what partitions these days lack; call it outside of any transaction."""
    first, last = partitions.window(timezone.now().astimezone(UTC).date())
    partitions.ensure(day for day in dates(days) if first <= day <= last)


class Stored(NamedTuple):
    """What storing changed; `duplicates` are entries of which nothing was new."""

    presence: list[PresenceChange]
    moved: list[Moved]
    duplicates: set[int]


def store(
    entries: Sequence[Entry],
    ids: DeviceIds,
    *,
    presence: bool = True,
    is_late: bool = False,
) -> Stored:
    """Store what these messages say; call it in a transaction.

    Args:
        entries: decoded messages in the order of receipt.
        ids: what is known, and learns.
        presence: False for old messages: they show nothing about the present, and
            only fill what is not known about a device yet.
        is_late: newer ones may have been stored: presence never goes back in time.

    Raises:
        MissingRowError: a device was deleted since its id was learnt.
    """
    gateways, dataloggers = device_news(entries)
    identities.ensure_gateways(ids, gateways)
    identities.ensure_dataloggers(ids, dataloggers)
    changes: list[PresenceChange] = []
    if presence:
        changes += updates.write_devices(ids, gateways, dataloggers, is_late=is_late)
    else:
        updates.fill_dataloggers(ids, dataloggers)
    history, retained = reading_rows(entries, ids)
    duplicates = insert_readings(history)
    moved = move_current([*history, *retained])
    mark_due(history)
    identities.describe_sensors(ids, descriptions(entries, ids))
    return Stored(changes, moved, duplicates)


def _sightings(entries: Sequence[Entry]) -> dict[discovery.Key, discovery.Sighting]:
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


def _outputs(entries: Sequence[Entry]) -> list[publishing.Output]:
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


def _quarantine(entries: Sequence[Entry]) -> None:
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
