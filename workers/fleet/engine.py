"""Runs a fleet: one thread, one selector, a schedule of devices over their links."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workers.fleet.crew import Crew
from workers.fleet.devices import Message
from workers.fleet.dialer import Dialer, Waker
from workers.fleet.link import Link, LinkOptions, LinkState
from workers.fleet.schedule import Schedule
from workers.fleet.tally import Progress, Tally

log = logging.getLogger(__name__)

STEPS_PER_TURN = 1000  # then the sockets have their turn: keepalives must not wait
TICK_S = 0.25  # how soon a retry or a deadline is noticed
DRAIN_S = 30.0  # for the last acknowledgements when the work is done
STOP_S = 1.2  # for the goodbyes after SIGTERM; the command promises 2 s in all
CLOSE_S = 0.4  # for the DISCONNECTs


@dataclass(frozen=True, slots=True)
class Limits:
    """When the fleet has done its work; None: it never has.

    `messages` counts data, heartbeats and malformed ones, not the statuses.
    """

    messages: int | None = None
    duration_s: float | None = None


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Engine:
    """The running fleet; a signal handler or another thread may call `stop`."""

    def __init__(
        self,
        crews: Sequence[Crew],
        options: LinkOptions,
        *,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.tally = Tally()
        self._options = options
        self._limits = limits or Limits()
        self._progress = progress
        self._links = [Link(crew, options, self.tally) for crew in crews]
        self._waker = Waker()
        self._dialer = Dialer(self._waker.wake)
        self._selector = selectors.DefaultSelector()
        self._schedule = Schedule()
        self._touched: set[Link] = set()  # their outboxes were filled
        self._counted = 0
        self.is_stopping = False
        self._is_away = False
        self._next_tick = 0.0
        self._next_misc = 0.0
        # Devices live on the wall clock, but must not jump when somebody sets it.
        self._epoch = time.time() - time.monotonic()

    def stop(self) -> None:
        self.is_stopping = True
        self._waker.wake()

    def run(self) -> Tally:
        """Publish until a limit is reached or `stop` is called; then say goodbye."""
        self._selector.register(self._waker.reader, selectors.EVENT_READ, None)
        for link in self._links:
            self._watch_closing(link)
        try:
            self._work()
            self._drain()
            self._say_goodbye(STOP_S if self.is_stopping else DRAIN_S)
        finally:
            self._hang_up()
        return self.tally

    def _now(self) -> float:
        return self._epoch + time.monotonic()

    # -- phases

    def _work(self) -> None:
        started = self._now()
        while not self.is_stopping and not self._is_done(started):
            self._step_due(self._now())
            self._turn(self._schedule.wait_s(self._now(), most_s=TICK_S))

    def _is_done(self, started: float) -> bool:
        limits = self._limits
        if limits.messages is not None and self._counted >= limits.messages:
            return True
        return (
            limits.duration_s is not None and self._now() - started >= limits.duration_s
        )

    def _drain(self) -> None:
        """Wait for the acknowledgements of what is out; a stop cuts it short."""
        deadline = self._now() + DRAIN_S
        while not self.is_stopping and self._now() < deadline:
            if all(link.is_idle() for link in self._links):
                return
            self._turn(TICK_S)

    def _say_goodbye(self, within_s: float) -> None:
        """Publish `offline` for every device that still has a connection."""
        deadline = self._now() + within_s
        for link in self._links:
            if link.state is LinkState.OPENED:
                link.outbox.clear()
                link.close()  # nothing is born any more
        saying = [link for link in self._links if link.state is LinkState.UP]
        for link in saying:
            link.outbox.clear()
            link.outbox.extend(slot.device.farewell() for slot in link.crew.slots)
            self._touched.add(link)
        while self._now() < deadline:
            busy = [link for link in saying if link.state is LinkState.UP]
            if all(link.is_idle() for link in busy):
                return
            self._turn(TICK_S, is_ending=True)

    def _hang_up(self) -> None:
        for link in self._links:
            if link.state is LinkState.DIALING:
                continue  # a dialer's thread holds it; the process' end cuts it
            if link.outbox:
                link.crash(until=0)  # no time for its goodbyes: the will says one
            link.close()
            self._watch(link)
        deadline = self._now() + CLOSE_S
        while self._now() < deadline and len(self._selector.get_map()) > 1:
            self._turn(0.05, is_ending=True)
        for link in self._links:
            if link.state is LinkState.CLOSED:
                link.cut()
        self._dialer.close()
        self._selector.close()
        self._waker.close()

    # -- one turn of the loop

    def _turn(self, wait_s: float, *, is_ending: bool = False) -> None:
        now = self._now()
        if not is_ending:
            self._tick(now)
        touched, self._touched = self._touched, set()
        for link in touched:
            link.pump(now)
            self._after_io(link, now)
        for key, mask in self._selector.select(0 if self._touched else wait_s):
            if key.data is None:
                self._waker.drain()
                continue
            self._serve(key.data, mask)
        if not is_ending:
            self._collect_dialed()

    def _serve(self, link: Link, mask: int) -> None:
        now = self._now()
        if mask & selectors.EVENT_READ:
            link.read(now)
        if mask & selectors.EVENT_WRITE and link.client.socket() is not None:
            link.client.loop_write()
        self._after_io(link, now)

    def _after_io(self, link: Link, now: float) -> None:
        if link.is_fresh:
            self._welcome(link, now)
        if link.heard:
            self._obey(link, now)
        if link.state is LinkState.WAITING and link.problem:
            self._note_trouble(link)
        if link.parked and link.has_much_room():
            parked, link.parked = link.parked, []
            for slot in parked:
                self._schedule.put(slot, link, slot.due)
        if link.can_pump():
            self._touched.add(link)
        self._watch(link)

    def _watch(self, link: Link) -> None:
        """Let the selector wait for what this link waits for."""
        sock = link.client.socket()
        if sock is None or link.state is LinkState.DIALING:
            return
        wanted = selectors.EVENT_READ
        if link.client.want_write():
            wanted |= selectors.EVENT_WRITE
        if not link.interest:
            self._selector.register(sock, wanted, link)
        elif wanted != link.interest:
            self._selector.modify(sock, wanted, link)
        link.interest = wanted

    def _watch_closing(self, link: Link) -> None:
        def forget(_client: object, _userdata: object, sock: HasFileno) -> None:
            if link.interest:
                self._selector.unregister(sock)
                link.interest = 0

        link.client.on_socket_close = forget

    # -- links

    def _tick(self, now: float) -> None:
        if now < self._next_tick:
            return
        self._next_tick = now + TICK_S
        is_time_for_misc = now >= self._next_misc
        if is_time_for_misc:
            self._next_misc = now + 1.0
        for number, link in enumerate(self._links):
            if link.state is LinkState.WAITING and now >= link.retry_at:
                link.state = LinkState.DIALING
                self._dialer.submit(number, link.dial)
            elif link.is_overdue(now):
                link.failed("it does not answer CONNECT", now)
                self._after_io(link, now)
            elif is_time_for_misc and link.interest:
                link.misc(now)
                self._after_io(link, now)
        if self._progress is not None and self._progress.is_due(now):
            connected = sum(link.state is LinkState.UP for link in self._links)
            self._progress.tell(self.tally, now, connected, len(self._links))

    def _collect_dialed(self) -> None:
        while self._dialer.outcomes:
            number, error = self._dialer.outcomes.popleft()
            link, now = self._links[number], self._now()
            if error is None:
                link.opened(now)
            else:
                link.failed(f"{type(error).__name__}: {error}", now)
            self._after_io(link, now)

    def _welcome(self, link: Link, now: float) -> None:
        """Births first, then every device's heartbeat; a silent one stays silent."""
        link.is_fresh = False
        if self._is_away:
            self._is_away = False
            log.info("broker %s is back", self._options.broker)
        link.parked.clear()
        topics = [slot.device.command_topic for slot in link.crew.slots]
        link.listen([topic for topic in topics if topic])
        for slot in link.crew.slots:
            if slot.device.state != "silent":
                link.outbox.append(slot.device.birth())
            slot.device.announce_again()
            self._schedule.put(slot, link, max(now, slot.device.next_at))

    def _obey(self, link: Link, now: float) -> None:
        devices = {slot.device.command_topic: slot.device for slot in link.crew.slots}
        while link.heard:
            topic, command = link.heard.popleft()
            if topic in devices and not self.is_stopping:
                link.outbox.extend(devices[topic].answer(command, now))

    def _note_trouble(self, link: Link) -> None:
        problem, link.problem = link.problem, ""
        if self._is_away or any(other.state is LinkState.UP for other in self._links):
            return
        self._is_away = True
        log.warning("waiting for broker %s: %s", self._options.broker, problem)

    # -- devices

    def _step_due(self, now: float) -> None:
        for _ in range(STEPS_PER_TURN):
            item = self._schedule.pop_due(now)
            if item is None:
                return
            slot, link = item
            if not link.has_room():
                link.parked.append(slot)
                continue
            link.outbox.extend(self._within_limit(slot.device.step(now, slot.rng)))
            self._touched.add(link)
            if slot.device.state == "crashed":
                self.tally.crashes += 1
                link.crash(until=slot.device.next_at)
            self._schedule.put(slot, link, slot.device.next_at)

    def _within_limit(self, messages: list[Message]) -> list[Message]:
        if self._limits.messages is not None:
            messages = messages[: self._limits.messages - self._counted]
        self._counted += len(messages)
        return messages
