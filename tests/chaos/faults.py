"""What goes wrong in a run: a plan made from a seed, and the hands that do it."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from embedded import proc
from embedded.server import Server
from tests.chaos.stage import SHARDS, WORKERS, Stage

KINDS = ("kill", "stop", "freeze", "cut", "flush")
GAP_S = (1.5, 6.0)  # between the beginnings of two faults
TRIES = 5  # to find a target that has no fault yet
LINK_FAULTS = (
    "reset",
    "close",
    "silence",
    "mute",
    "refuse",
    "pause",
    "latency",
    "slices",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the plan: what happens to whom, when and for how long.

    The target `owner:1` is whichever worker owns shard 1 at that moment.
    """

    at_s: float
    action: str
    target: str
    for_s: float

    def __str__(self) -> str:
        return f"{self.action} {self.target} for {self.for_s:.1f} s"


@dataclass(slots=True)
class Happened:
    """A fault as it came about, on the wall clock."""

    fault: Fault
    began: float
    ended: float = field(default=0.0)

    def is_near(self, moment: float, *, within_s: float = 5.0) -> bool:
        end = self.ended or time.time()
        return self.began - within_s <= moment <= end + within_s


@dataclass(frozen=True, slots=True)
class _Choice:
    kind: str
    action: str
    targets: tuple[str, ...]
    seconds: tuple[float, float]
    weight: float


def plan(
    seed: int,
    seconds: float,
    kinds: Iterable[str],
    *,
    site_count: int,
    broker_persists: bool,
) -> list[Fault]:
    """Return the faults of a run, the same for the same arguments."""
    chance = random.Random(seed)
    wanted = set(kinds)
    choices = [
        choice
        for choice in _choices(site_count, broker_persists=broker_persists)
        if choice.kind in wanted
    ]
    weights = [choice.weight for choice in choices]
    faults: list[Fault] = []
    busy_until: dict[str, float] = {}
    at_s = 3.0
    while choices and at_s < seconds:
        for _ in range(TRIES):
            choice = chance.choices(choices, weights)[0]
            target = chance.choice(choice.targets)
            for_s = min(chance.uniform(*choice.seconds), max(0.5, seconds - at_s))
            if busy_until.get(target, 0.0) <= at_s:
                faults.append(Fault(at_s, choice.action, target, for_s))
                busy_until[target] = at_s + for_s + 1.0
                break
        at_s += chance.uniform(*GAP_S)
    return faults


def _choices(site_count: int, *, broker_persists: bool) -> list[_Choice]:
    owners = tuple(f"owner:{shard}" for shard in range(SHARDS))
    workers = (*owners, *owners, *WORKERS)
    brokers = tuple(f"broker:{n}" for n in range(site_count))
    databases = tuple(f"database:{name}" for name in owners)
    redises = tuple(f"redis:{name}" for name in owners)
    links = (*brokers, *brokers, *databases, *databases, *redises)
    choices = [
        _Choice("kill", "kill", workers, (0.5, 8), 6),
        _Choice("kill", "kill", ("postgres",), (0.5, 8), 2),
        _Choice("kill", "kill", ("valkey",), (0.5, 8), 2),
        _Choice("kill", "kill", ("default", "beat", "web"), (0.5, 5), 1.5),
        _Choice("stop", "stop", workers, (0.5, 8), 4),
        _Choice("stop", "stop", ("postgres",), (0.5, 15), 2),
        _Choice("stop", "stop", ("valkey",), (0.5, 10), 1),
        _Choice("freeze", "freeze", workers, (0.5, 12), 2),
        _Choice("freeze", "freeze", workers, (16, 25), 2),  # the lease runs out
        _Choice("freeze", "freeze", ("postgres",), (1, 10), 2),
        _Choice("freeze", "freeze", ("valkey",), (1, 12), 1),
        _Choice("freeze", "freeze", ("broker",), (1, 12), 1),
        _Choice("flush", "flush", ("valkey",), (0.1, 0.1), 1),
        _Choice("cut", "reset", links, (0.1, 0.1), 3),
        _Choice("cut", "close", links, (0.1, 0.1), 2),
        _Choice("cut", "silence", links, (2, 25), 3),
        _Choice("cut", "mute", links, (2, 12), 2),  # what they send gets lost
        _Choice("cut", "refuse", links, (1, 8), 2),
        _Choice("cut", "pause", links, (1, 12), 2),
        _Choice("cut", "latency", links, (2, 10), 1),
        _Choice("cut", "slices", links, (2, 8), 1),
    ]
    if broker_persists:
        choices.append(_Choice("stop", "stop", ("broker",), (0.5, 6), 1.5))
    return choices


class Hands:
    """Carries out a plan, each fault on a thread of its own."""

    def __init__(self, stage: Stage, faults: Sequence[Fault]) -> None:
        self.happened: list[Happened] = []
        self.failures: list[str] = []  # faults that could not be undone
        self._stage = stage
        self._faults = faults
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        thread = threading.Thread(target=self._run, name="faults")
        self._threads.append(thread)
        thread.start()

    def finish(self) -> None:
        """End every fault now."""
        self._end.set()
        for thread in list(self._threads):
            thread.join()

    @property
    def active(self) -> list[str]:
        return [str(h.fault) for h in self.happened if not h.ended]

    def near(self, moments: Iterable[float]) -> list[str]:
        """Return the faults around these moments."""
        marks = list(moments)
        return [
            f"{time.strftime('%H:%M:%S', time.localtime(h.began))} {h.fault}"
            for h in self.happened
            if any(h.is_near(mark) for mark in marks)
        ]

    def _run(self) -> None:
        began = time.monotonic()
        for fault in self._faults:
            if self._end.wait(max(0.0, began + fault.at_s - time.monotonic())):
                return
            thread = threading.Thread(target=self._do, args=(fault,))
            self._threads.append(thread)
            thread.start()

    def _do(self, planned: Fault) -> None:
        """Carry a fault out, unless its target still has one."""
        fault = replace(planned, target=self._stage.resolve(planned.target))
        with self._lock:
            if fault.target in self._busy:
                return
            self._busy.add(fault.target)
        try:
            self._do_to(fault)
        finally:
            with self._lock:
                self._busy.discard(fault.target)

    def _do_to(self, fault: Fault) -> None:
        happened = Happened(fault, time.time())
        self.happened.append(happened)
        try:
            with self._action(fault)(fault):
                self._end.wait(fault.for_s)
        except Exception as error:  # noqa: BLE001 (said at the end of the run)
            self.failures.append(f"{fault}: {type(error).__name__}: {error}")
        happened.ended = time.time()

    def _action(self, fault: Fault) -> Callable[[Fault], object]:
        if fault.action in LINK_FAULTS:
            return self._on_link
        if fault.target in self._stage.processes:
            return self._on_process
        return self._on_server

    @contextmanager
    def _on_process(self, fault: Fault):
        stage = self._stage
        process = stage.processes[fault.target]
        if fault.action == "freeze":
            assert process.popen is not None
            proc.freeze([process.popen.pid])
            try:
                yield
            finally:
                process.popen.send_signal(signal.SIGCONT)
            return
        stage.hold(fault.target)
        try:
            if fault.action == "kill":
                process.kill()
            else:
                process.terminate(60)
            yield
        finally:
            process.start()
            stage.release(fault.target)

    @contextmanager
    def _on_server(self, fault: Fault):
        server: Server = getattr(self._stage, fault.target)
        if fault.action == "flush":
            self._stage.flush_redis()
            yield
            return
        if fault.action == "freeze":
            server.freeze()
            try:
                yield
            finally:
                server.thaw()
            return
        if fault.action == "kill":
            server.kill()
        else:
            server.stop(30)
        try:
            yield
        finally:
            server.start(60)

    @contextmanager
    def _on_link(self, fault: Fault):
        proxy = self._stage.proxies[fault.target]
        {
            "reset": proxy.reset,
            "close": proxy.cut,
            "silence": proxy.go_silent,
            "mute": lambda: proxy.go_silent("up"),
            "refuse": proxy.refuse,
            "pause": proxy.pause,
            "latency": lambda: proxy.slow(latency_s=0.3),
            "slices": lambda: proxy.slow(slice_bytes=64, slice_gap_s=0.001),
        }[fault.action]()
        try:
            yield
        finally:
            proxy.heal()
