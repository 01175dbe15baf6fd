"""Puts the threads of an MQTT worker together, starts and stops them in order."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from django.conf import settings
from django.db import connection

from apps.devices.discovery_sessions import close_left_behind, waiting_site
from apps.sites import trials
from apps.sites.publishing import Outgoing
from workers import identity
from workers.dblimits import ANSWER_S, Cutter, limited
from workers.discovery import Discoveries
from workers.echo import Echo
from workers.inbox import Inboxes
from workers.lease import LeaseKeeper
from workers.metrics import WorkerMetrics
from workers.outbox import Outbox
from workers.reach import Prober, Reach
from workers.reporter import Reporter
from workers.spec import ConnectionSpec, load_enabled, load_spec, load_tried_spec
from workers.spools import Spools
from workers.supervisor import Supervisor
from workers.trial import Trial
from workers.tuning import tune
from workers.watchdog import Watchdog
from workers.writer import Context, Writer

log = logging.getLogger(__name__)

WRITERS = 2  # the second decodes while the first waits for the database
TRIALS = 2  # tests of connections at once; each holds a thread of the pool's four
WRITER_THREAD = "mqtt-writer"
DISCOVERY_THREAD = "mqtt-discovery"
NETWORK_THREAD = "mqtt-network"
OUTBOX_THREAD = "mqtt-outbox"
REPORTER_THREAD = "mqtt-reporter"
LEASES_THREAD = "mqtt-leases"
PROBER_THREAD = "mqtt-prober"
CUTTER_THREAD = "mqtt-db-limits"


class Runtime:
    """The supervisor, writer, reporter and lease keeper of one process."""

    def __init__(
        self,
        node: str,
        shards: Sequence[int],
        *,
        consume: Callable[[int], bool],
        cancel: Callable[[int], None],
    ) -> None:
        """Prepare a runtime; no I/O yet.

        Args:
            node: the Celery node name, such as mqtt0@host.
            shards: those that this worker may own.
            consume: take a shard's commands from its queue; whether they are
                being taken already.
            cancel: stop taking them.
        """
        self.node = node
        self.owner = identity.owner_name(node)
        self._cancel = cancel
        self._trials = threading.BoundedSemaphore(TRIALS)
        self._is_stopping = False
        self._threads: list[threading.Thread] = []
        self.inboxes = Inboxes(WRITERS)
        self.spools = Spools.of(node, WRITERS)
        self.prober = Prober()
        self.cutter = Cutter()
        self.keeper = LeaseKeeper(
            self.owner,
            shards,
            gained=self._gained,
            lost=self._lost,
            serve=consume,
        )
        epochs = self.keeper.epochs
        metrics = WorkerMetrics()
        self.echo = Echo(self.owner)
        self.reporter = Reporter(
            self.owner,
            node,
            inboxes=self.inboxes,
            spools=self.spools,
            epochs=epochs,
            metrics=metrics,
            echo=self.echo,
            superseded=self.keeper.look,
        )
        self.outbox = Outbox(epochs, self._send)
        self.supervisor = Supervisor(
            self.inboxes, self.reporter.report, self.outbox.settle, self.keeper
        )
        self.discoveries = Discoveries(self.supervisor)
        self._contexts: dict[int, Context] = {}
        self.writers = [
            Writer(
                inbox,
                epochs,
                self._contexts,
                acknowledge=self.supervisor.acknowledge,
                committed=self.reporter.committed,
                fenced=self.keeper.was_fenced,
                timed=metrics.committed_after,
                shown=self.reporter.tail.offer,
                spool=spool,
                reach=Reach(self.prober),
                standing=self.keeper,
                is_over=self.supervisor.is_over,
                is_void=self.supervisor.is_void,
            )
            for inbox, spool in zip(self.inboxes.each, self.spools.each, strict=True)
        ]
        self._watchdog = Watchdog(
            {
                NETWORK_THREAD: lambda: self.supervisor.last_turn,
                REPORTER_THREAD: lambda: self.reporter.last_turn,
                LEASES_THREAD: lambda: self.keeper.turns,
                PROBER_THREAD: lambda: self.prober.turns,
                CUTTER_THREAD: lambda: self.cutter.turns,
                **{
                    f"{WRITER_THREAD}-{n}": partial(getattr, writer, "turns")
                    for n, writer in enumerate(self.writers)
                },
            },
            self.echo.deaf,
            is_over=lambda: self._is_stopping,
        )

    # -- start and stop --------------------------------------------------------

    def start(self) -> None:
        tune()
        log.info("worker owner=%s host=%s", self.owner, socket.gethostname())
        for name, run in (
            (CUTTER_THREAD, self.cutter.run),
            *((WRITER_THREAD, writer.run) for writer in self.writers),
            (REPORTER_THREAD, self.reporter.run),
            (NETWORK_THREAD, self.supervisor.run),
            (OUTBOX_THREAD, self.outbox.run),
            (LEASES_THREAD, self.keeper.run),
            (DISCOVERY_THREAD, self.discoveries.run),
            (PROBER_THREAD, self.prober.run),
            ("mqtt-watchdog", self._watchdog.run),
        ):
            thread = threading.Thread(
                target=self._watchdog.guard, args=(name, run), name=name
            )
            thread.daemon = True
            self._threads.append(thread)
            thread.start()

    def begin_drain(self) -> None:
        """Take no more commands and messages; quick, and safe to repeat."""
        self._is_stopping = True
        self._watchdog.stop()
        self.outbox.drain()
        self.supervisor.drain()
        self.discoveries.drain()

    def stop(self, timeout_s: float) -> None:
        """Store and acknowledge what is in hand, say goodbye, release the leases."""
        started = time.monotonic()
        deadline = started + timeout_s
        self.begin_drain()
        for writer in self.writers:
            writer.stop()
        self._join(WRITER_THREAD, timeout_s * 0.6)
        for writer in self.writers:
            writer.give_up()
        self.prober.stop()
        left = self.inboxes.depth
        is_clean = self.supervisor.stop(max(0.5, deadline - time.monotonic()))
        self._join(NETWORK_THREAD, 0.5)  # its last words are for the outbox
        self.outbox.stop()
        self._join(OUTBOX_THREAD, max(0.5, deadline - time.monotonic() - 1.0))
        self._join(DISCOVERY_THREAD, max(0.2, deadline - time.monotonic() - 1.0))
        self.reporter.stop()
        self._join(REPORTER_THREAD, max(0.5, deadline - time.monotonic()))
        self.keeper.stop()
        self._join(LEASES_THREAD, 1.0)
        self.keeper.release()
        connection.close()
        self.cutter.hurry()  # the last: all before it counts on its limits
        log.info(
            "stopped after %.2f s goodbyes=%s unstored=%d spooled=%d",
            time.monotonic() - started,
            "all" if is_clean else "some missing",
            left,
            self.spools.depth,
        )

    def _join(self, name: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.name == name:
                thread.join(max(0.0, deadline - time.monotonic()))

    # -- commands (on a Celery pool thread) ------------------------------------

    @limited(ANSWER_S)
    def ensure(self, site_id: int) -> None:
        """Make a site's connection as its row says now."""
        loaded = load_spec(site_id)
        if loaded is None:
            self.supervisor.forget_site(site_id)
            self.discoveries.end_site(site_id, "The site was deleted")
            return
        spec, is_enabled = loaded
        if self._is_stopping or spec.shard not in self.keeper.epochs:
            log.info("command not for us site_id=%d shard=%d", site_id, spec.shard)
        elif is_enabled:
            self._connect(spec)
        else:
            self.supervisor.drop(spec)
            self.discoveries.end_site(site_id, "The connection was stopped")

    @limited(ANSWER_S)
    def discover(self, session_id: int) -> None:
        """Listen to all of a site's topics for a while, as the session's row says."""
        site_id = waiting_site(session_id)
        loaded = load_spec(site_id) if site_id is not None else None
        if loaded is None:
            return
        spec, is_enabled = loaded
        if self._is_stopping or spec.shard not in self.keeper.epochs:
            log.info("session not for us session_id=%d", session_id)
        else:
            self.discoveries.begin(session_id, spec, is_enabled=is_enabled)

    def publish(self, command_id: int) -> None:
        """Send a queued command; what becomes of it is written into its row."""
        self.outbox.claim(command_id)

    def _send(self, outgoing: Outgoing, give_up_at: float) -> None:
        self.supervisor.publish(outgoing, give_up_at)

    def test(self, trial_id: int) -> None:
        """Try a connection on this thread of the pool, and hand over the answer."""
        if not self._trials.acquire(blocking=False):
            trials.answer(trial_id, trials.BUSY)
            return
        try:
            given = trials.take(trial_id)
            if given is None:
                return
            with limited(ANSWER_S):
                spec = load_tried_spec(given)
            if spec is None:
                return
            trials.answer(trial_id, trials.TAKEN)
            trials.answer(trial_id, Trial(spec).run())
        except trials.PasswordNeededError:
            log.info("test not run: the connection was changed meanwhile")
        finally:
            self._trials.release()

    def _connect(self, spec: ConnectionSpec) -> None:
        self._contexts[spec.connection_id] = Context(
            spec.code, spec.zone, is_redelivered=not spec.clean_session
        )
        self.supervisor.ensure(spec)

    # -- leases (on the keeper's thread) ---------------------------------------

    def _gained(self, shard: int, epoch: int) -> None:
        close_left_behind(shard, but=self.discoveries.session_ids)
        specs = load_enabled({shard})
        log.info(
            "shard taken shard=%d epoch=%d connections=%d", shard, epoch, len(specs)
        )
        for spec in specs:
            self._connect(spec)

    def _lost(self, shard: int) -> None:
        self._cancel(shard)
        self.supervisor.abandon(shard)
        self.discoveries.abandon(shard)
        self.reporter.forget(shard)

    # -- for people ------------------------------------------------------------

    def info(self) -> dict[str, object]:
        """Return what `celery inspect stats` and Flower show of this worker."""
        return {
            "owner": self.owner,
            "leases": {str(k): v for k, v in sorted(self.keeper.epochs.items())},
            "connections": self.supervisor.summary(),
            "inbox": self.inboxes.depth,
            "spool": self.spools.record(),
            "instance_id": settings.MQTT_INSTANCE_ID,
        }


class _Current:
    """The runtime of this process, for tasks."""

    runtime: Runtime | None = None


def current() -> Runtime | None:
    return _Current.runtime


def set_current(runtime: Runtime | None) -> None:
    _Current.runtime = runtime
