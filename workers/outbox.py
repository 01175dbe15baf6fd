"""Sends people's commands on the sites' links, and writes what became of each.

`Flights` lives on the network thread and never waits; `Outbox` is a thread of its own
that talks to the database, so that a database that is away holds up nobody else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue

from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
)
from django.utils import timezone

from apps.core.shards import shard_of
from apps.sites import publishing
from apps.sites.models import CommandReason, CommandState
from apps.sites.publishing import Outgoing, Settled
from workers.dblimits import ANSWER_S, limited
from workers.link import Link

log = logging.getLogger(__name__)

GIVE_UP_S = 5.0  # after the claim: nothing is sent later, and no PUBACK is waited for
# Under paho's own window of 20, which also our birth and goodbye need: what is beyond
# it paho would send whenever there is room, perhaps after somebody was told 504.
MAX_UNCONFIRMED = 16
RETRY_EVERY_S = 0.5
_FAILURE = 0x80  # MQTT 5 §2.4: reason codes from here on are failures
_SUCCESS = 0x00


@dataclass(slots=True, eq=False)
class Flight:
    """A message on its way to the broker."""

    outgoing: Outgoing
    link: Link
    give_up_at: float  # monotonic
    sent_at: datetime
    sent_mono: float
    is_over: bool = False


class Flights:
    """The messages that wait for the broker's word. Network thread only."""

    def __init__(self, settled: Callable[[Settled], None]) -> None:
        self._settled = settled
        self._flights: list[Flight] = []

    def __len__(self) -> int:
        return len(self._flights)

    def send(self, outgoing: Outgoing, link: Link | None, give_up_at: float) -> None:
        """Send a claimed command now, or settle that it was not sent.

        Args:
            outgoing: nobody else will send it.
            link: subscribed and up; None when the site has no such link.
            give_up_at: monotonic; it is not sent any more then.
        """
        now = time.monotonic()
        if link is None or link.is_closed:
            self._not_sent(outgoing, CommandReason.NOT_CONNECTED, "It was down")
        elif not outgoing.topic.startswith(f"{link.spec.code}/"):
            words = f"The site's code is '{link.spec.code}' now"
            self._not_sent(outgoing, CommandReason.NOT_CONNECTED, words)
        elif now >= give_up_at:
            self._not_sent(outgoing, CommandReason.BUSY, "The worker was too slow")
        elif len(link.awaiting) >= min(MAX_UNCONFIRMED, link.receive_maximum):
            words = f"{len(link.awaiting)} messages wait for the broker"
            self._not_sent(outgoing, CommandReason.BUSY, words)
        else:
            sent_at = datetime.now(UTC)
            self._send(Flight(outgoing, link, give_up_at, sent_at, now))

    def _send(self, flight: Flight) -> None:
        outgoing, link = flight.outgoing, flight.link
        self._flights.append(flight)
        mid = link.publish(
            outgoing.topic, outgoing.payload, qos=outgoing.qos, retain=outgoing.retain
        )
        if mid == 0 and not link.is_closed:
            words = "It found no room on the link"
            self._over(flight, CommandState.FAILED, CommandReason.BUSY, words)
            return
        link.awaiting[mid] = lambda code, words: self._told(flight, code, words)
        link.on_writable()

    def _told(self, flight: Flight, code: int, words: str) -> None:
        """Take the broker's PUBACK; of QoS 0, that it was written to the socket."""
        if code >= _FAILURE:
            said = f"{words} (0x{code:02X})"
            self._over(flight, CommandState.FAILED, CommandReason.REFUSED, said)
            return
        took = timedelta(seconds=time.monotonic() - flight.sent_mono)
        self._settle(
            flight,
            Settled(
                flight.outgoing.command_id,
                flight.outgoing.site_id,
                CommandState.DELIVERED,
                detail="" if code == _SUCCESS else words,
                sent_at=flight.sent_at,
                delivered_at=flight.sent_at + took,
            ),
        )

    def look(self, now: float) -> None:
        """Give up on what came too late or lost its link; `now` is monotonic."""
        for flight in self._flights:
            if flight.link.is_closed:
                self._unconfirmed(flight, "The connection was lost before the PUBACK")
            elif now >= flight.give_up_at:
                self._unconfirmed(flight, f"No PUBACK within {GIVE_UP_S:.0f} s")
        self._flights = [flight for flight in self._flights if not flight.is_over]

    def give_up(self) -> None:
        """Settle all the rest: the worker ends."""
        for flight in self._flights:
            self._unconfirmed(flight, "The worker stopped before the PUBACK")
        self._flights.clear()

    def _unconfirmed(self, flight: Flight, words: str) -> None:
        self._over(flight, CommandState.NO_PUBACK, CommandReason.NO_PUBACK, words)

    def _over(
        self, flight: Flight, state: CommandState, reason: CommandReason, words: str
    ) -> None:
        outgoing = flight.outgoing
        settled = Settled(outgoing.command_id, outgoing.site_id, state, reason, words)
        self._settle(flight, settled)

    def _settle(self, flight: Flight, settled: Settled) -> None:
        if not flight.is_over:
            flight.is_over = True
            self._settled(settled)

    def _not_sent(self, outgoing: Outgoing, reason: CommandReason, words: str) -> None:
        self._settled(
            Settled(
                outgoing.command_id,
                outgoing.site_id,
                CommandState.FAILED,
                reason,
                words,
            )
        )


class Outbox:
    """Claims commands, and writes what became of them, in the order in which they came.

    On a thread of its own, which keeps its database connection: a login would cost more
    than all the rest of a command. What it cannot write before the process ends stays
    `sent` in the ledger, until the sweep calls it `no_puback`.
    """

    def __init__(
        self,
        epochs: Mapping[int, int],
        send: Callable[[Outgoing, float], None],
    ) -> None:
        """Prepare an outbox.

        Args:
            epochs: by shard, the epoch under which this worker owns it.
            send: takes a claimed command and when (monotonic) to give it up.
        """
        self._epochs = epochs
        self._send = send
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stop = threading.Event()
        self._is_draining = False

    # -- other threads: never wait ---------------------------------------------

    def claim(self, command_id: int) -> None:
        """Take a queued command and have it sent, unless it has expired by then."""
        self._jobs.put(lambda: self._claim(command_id))

    def settle(self, settled: Settled) -> None:
        """Write what became of a command."""
        self._jobs.put(lambda: self._settle(settled))

    def drain(self) -> None:
        """Send no more; who waits for an answer is told at once."""
        self._is_draining = True

    def stop(self) -> None:
        """End after what is there; a database that is away is not waited for."""
        self._stop.set()
        self._jobs.put(None)

    # -- this thread -----------------------------------------------------------

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._try(job)
        close_old_connections()
        connection.close()

    def _try(self, job: Callable[[], None]) -> None:
        """Do a job, again and again while the database is away: all may be repeated."""
        while True:
            try:
                with limited(ANSWER_S):
                    job()
            except (OperationalError, InterfaceError) as error:
                log.warning("command waits: %s", type(error).__name__)
                connection.close()
                if self._stop.wait(RETRY_EVERY_S):
                    return
            except DatabaseError:
                log.exception("the database refuses a command's result")
                return
            else:
                return

    def _claim(self, command_id: int) -> None:
        site_id = publishing.waiting_site(command_id)
        if site_id is None:
            return
        shard = shard_of(site_id, settings.MQTT_SHARDS)
        epoch = self._epochs.get(shard)
        if self._is_draining or epoch is None:
            words = "The worker was stopping"
            publishing.withdraw(command_id, CommandReason.NO_WORKER, words)
            return
        give_up_at = time.monotonic() + GIVE_UP_S
        outgoing = publishing.claim(
            command_id, shard=shard, epoch=epoch, now=timezone.now()
        )
        if outgoing is None:
            log.info("command not claimed command_id=%d", command_id)
        else:
            self._send(outgoing, give_up_at)

    def _settle(self, settled: Settled) -> None:
        if publishing.settle(settled):
            command = (settled.site_id, settled.command_id)
            publishing.announce([command], settled.state)
