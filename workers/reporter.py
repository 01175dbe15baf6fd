"""Says what is: reports to Redis, live values to browsers. Off the network thread.

Redis away costs live updates, never data: values are dropped (pages refetch), reports
are kept and said again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from celery import current_app
from django.db import close_old_connections
from kombu.exceptions import OperationalError

from apps.core import events, vitals
from apps.core.redis import RedisError, client, worker_key
from apps.devices.presence import PresenceChange
from apps.devices.services import broadcast
from apps.sites import reports
from apps.sites.models import CommandState
from apps.sites.publishing import announce
from apps.sites.reports import Report
from apps.telemetry.ingest import Written
from workers.echo import EVERY_S as ECHO_EVERY_S
from workers.echo import Echo
from workers.flow import Flow
from workers.inbox import Inboxes
from workers.metrics import WorkerMetrics
from workers.snapshot import Snapshot
from workers.spools import Spools
from workers.tail import Tail

log = logging.getLogger(__name__)

REPORT_EVERY_S = 5.0
FLUSH_EVERY_S = 0.5  # at most two telemetry events a site and second
STOPPED_TTL_S = 120  # a `disconnected` is said once more often than the reconcile looks
RECORD_EXPIRES_S = 60


class Reporter:
    """Takes snapshots and committed batches from other threads; never blocks them."""

    def __init__(
        self,
        owner: str,
        node: str,
        *,
        inboxes: Inboxes,
        spools: Spools,
        epochs: Mapping[int, int],
        metrics: WorkerMetrics,
        echo: Echo,
        superseded: Callable[[], None],
    ) -> None:
        """Prepare a reporter.

        Args:
            owner: who we are in reports.
            node: the Celery node name.
            inboxes: where to look what is in flight.
            spools: likewise.
            epochs: by shard, the leases that are ours; others change it.
            metrics: counts what happens.
            echo: called every 30 s, here where waiting for Redis harms nobody.
            superseded: told when somebody with a newer lease has spoken.
        """
        self.last_turn = time.monotonic()  # read by the watchdog
        self._owner = owner
        self._node = node
        self._inboxes = inboxes
        self._spools = spools
        self._epochs = epochs
        self._metrics = metrics
        self._echo = echo
        self._superseded = superseded
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._latest: dict[int, tuple[Snapshot, int]] = {}  # with its seq
        self._unsaid: set[int] = set()
        self._seq: dict[int, int] = {}
        self._values: dict[int, dict[int, tuple[float | str | None, int]]] = {}
        self._presence: list[PresenceChange] = []
        self._answered: list[tuple[int, int]] = []
        self._telemetry_seq: dict[int, int] = {}
        self._last_message: dict[int, datetime] = {}
        self._flow = Flow()
        self.tail = Tail()

    # -- other threads ---------------------------------------------------------

    def report(self, snapshot: Snapshot) -> None:
        """Take a connection's new state; said to Redis at once."""
        with self._lock:
            before = self._latest.get(snapshot.connection_id)
            seq = self._seq.get(snapshot.connection_id, 0) + 1
            self._seq[snapshot.connection_id] = seq
            self._latest[snapshot.connection_id] = (snapshot, seq)
            self._unsaid.add(snapshot.connection_id)
            self._flow.know(snapshot.connection_id, _minute())
        self._metrics.reported(before[0] if before else None, snapshot)
        self._wake.set()

    def committed(self, written: Written) -> None:
        """Take what a batch changed; said to browsers within half a second."""
        with self._lock:
            for site_id, values in written.current.items():
                self._values.setdefault(site_id, {}).update(values)
            self._presence += written.presence
            self._answered += written.answered
            minute = _minute()
            for connection_id, tally in written.tallies.items():
                self._flow.add(connection_id, tally.received, minute)
                if tally.last_us:
                    at = datetime.fromtimestamp(tally.last_us / 1e6, UTC)
                    self._last_message[connection_id] = at

    def forget(self, shard: int) -> None:
        """Say nothing more about a shard that somebody else owns."""
        with self._lock:
            for connection_id, (snapshot, _) in list(self._latest.items()):
                if snapshot.shard == shard:
                    del self._latest[connection_id]
                    self._unsaid.discard(connection_id)
                    self._flow.forget(connection_id)

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()

    # -- this thread -----------------------------------------------------------

    def run(self) -> None:
        """Report until stopped, and once more then."""
        next_flush = next_round = 0.0
        next_echo = time.monotonic() + ECHO_EVERY_S
        while not self._stop.is_set():
            now = time.monotonic()
            self.last_turn = now
            self._say(self._take_unsaid(), record=True)
            if now >= next_round:
                self._say_all()
                next_round = now + REPORT_EVERY_S
            if now >= next_flush:
                self._flush()
                next_flush = now + FLUSH_EVERY_S
            if now >= next_echo:
                self._echo.call(self._epochs)
                next_echo = now + ECHO_EVERY_S
            self._wake.wait(max(0.0, min(next_flush, next_round) - time.monotonic()))
            self._wake.clear()
        self._say(self._take_unsaid(), record=True)
        self._say_goodbye()
        close_old_connections()

    def _take_unsaid(self) -> list[tuple[Snapshot, int]]:
        with self._lock:
            unsaid, self._unsaid = self._unsaid, set()
            return [self._latest[key] for key in unsaid if key in self._latest]

    def _say(self, snapshots: list[tuple[Snapshot, int]], *, record: bool) -> None:
        """Write reports, and have them recorded; what cannot be said is kept."""
        said = [
            self._as_report(snapshot, seq)
            for snapshot, seq in snapshots
            if snapshot.shard in self._epochs
        ]
        if not said:
            return
        try:
            stopped = [report for report in said if report.status == "disconnected"]
            refused = reports.store(r for r in said if r.status != "disconnected")
            refused |= reports.store(stopped, ttl_s=STOPPED_TTL_S)
            heard = [r.connection_id for r in said if r.connection_id not in refused]
            if record and heard:
                _send_record(heard)
        except (RedisError, OperationalError) as error:
            log.warning(
                "reports not said count=%d: %s", len(said), type(error).__name__
            )
            with self._lock:
                self._unsaid.update(
                    report.connection_id
                    for report in said
                    if record and report.connection_id in self._latest
                )
            self._stop.wait(1.0)  # not a busy loop while Redis refuses
            return
        if refused:
            log.warning("reports refused count=%d: a newer owner speaks", len(refused))
            self._superseded()
        self._forget_stopped(stopped)

    def _forget_stopped(self, stopped: list[Report]) -> None:
        with self._lock:
            for report in stopped:
                known = self._latest.get(report.connection_id)
                if known is not None and known[1] == report.seq:
                    del self._latest[report.connection_id]
                    self._flow.forget(report.connection_id)

    def _as_report(self, snapshot: Snapshot, seq: int) -> Report:
        return Report(
            connection_id=snapshot.connection_id,
            site_id=snapshot.site_id,
            generation=snapshot.generation,
            epoch=self._epochs.get(snapshot.shard, 0),
            seq=seq,
            status=snapshot.status,
            reason=snapshot.reason,
            detail=snapshot.detail,
            at=datetime.now(UTC),
            owner=self._owner,
            shard=snapshot.shard,
            client_id=snapshot.client_id,
            retry_count=snapshot.retry_count,
            next_retry_at=snapshot.next_retry_at,
            connected_at=snapshot.connected_at,
            last_message_at=self._last_message.get(snapshot.connection_id),
            session_present=snapshot.session_present,
            lost_at=snapshot.lost_at,
            is_clean=snapshot.is_clean,
            errors=snapshot.errors,
            topics=snapshot.topics,
            lowered_topics=snapshot.lowered_topics,
            counters=self._counters(snapshot.connection_id),
            per_minute=self._per_minute(snapshot.connection_id),
        )

    def _per_minute(self, connection_id: int) -> tuple[int, ...]:
        with self._lock:
            return self._flow.series(connection_id, _minute())

    def _counters(self, connection_id: int) -> dict[str, int]:
        """Return what is received and not stored; `spooled` is a part of it."""
        spooled = self._spools.depth_of(connection_id)
        waiting = self._inboxes.of(connection_id).depth_of(connection_id)
        return {"in_flight": waiting + spooled, "spooled": spooled}

    def _say_all(self) -> None:
        """Renew every report and say that this worker lives."""
        with self._lock:
            everything = list(self._latest.values())
        self._say(everything, record=False)
        try:
            client().set(worker_key(self._node), self._owner, ex=15)
            vitals.say(
                vitals.WORKER,
                self._node,
                self._metrics.record(
                    self._epochs,
                    inbox_messages=self._inboxes.depth,
                    inbox_bytes=self._inboxes.size,
                    spool=self._spools.record(),
                ),
            )
        except RedisError:
            return  # `_say` has logged it, or there was nothing to say

    def _say_goodbye(self) -> None:
        """Leave the list of workers: one that was told to end is not missed."""
        try:
            vitals.forget(vitals.WORKER, self._node)
        except RedisError:
            return  # its records run out by themselves

    def _flush(self) -> None:
        """Emit the latest value of every sensor that moved, one event a site."""
        with self._lock:
            values, self._values = self._values, {}
            presence, self._presence = self._presence, []
            answered, self._answered = self._answered, []
            sites = {snapshot.site_id for snapshot, _ in self._latest.values()}
        for site_id, moved in values.items():
            self._emit_values(site_id, moved)
        broadcast(presence)
        announce(answered, CommandState.ANSWERED)
        self.tail.flush(sites)

    def _emit_values(
        self, site_id: int, moved: dict[int, tuple[float | str | None, int]]
    ) -> None:
        seq = self._telemetry_seq.get(site_id, 0) + 1
        self._telemetry_seq[site_id] = seq
        events.emit(
            [events.site_channel(site_id)],
            "telemetry",
            {
                "seq": seq,
                "epoch": self._owner,
                "values": [
                    {"sensor_id": sensor_id, "value": value, "at": _iso(at_us)}
                    for sensor_id, (value, at_us) in moved.items()
                ],
            },
        )


def _send_record(connection_ids: list[int]) -> None:
    """Have reports recorded: one task for all that changed at once."""
    current_app.send_task(
        "apps.sites.tasks.record_reports",
        args=[connection_ids],
        queue="default",
        expires=RECORD_EXPIRES_S,
    )


def _minute() -> int:
    return int(time.time() // 60)


def _iso(at_us: int) -> str:
    moment = datetime.fromtimestamp(at_us / 1e6, UTC)
    return moment.isoformat().replace("+00:00", "Z")
