"""Breaks a whole system for some minutes and compares what was sent with what is there.

    python3 -m tests.chaos --minutes 5 --seed 1

Exit status: 0 clean, 1 something is wrong, 2 wrong arguments, 3 void (the run did not
show what it is for: no redelivery, no takeover, or no spool that was drained).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.chaos.faults import KINDS, Hands, plan
from tests.chaos.judge import Problem, judge, lost_so_far, unbalanced
from tests.chaos.messages import Script, Sent
from tests.chaos.publisher import Publisher
from tests.chaos.stage import Stage, run_on_stage

PROGRESS_S = 10.0
DRAIN_S = 240.0  # since calm; given up earlier when nothing moves any more
STILL_S = 60.0
SETTLE_S = 5.0  # what comes twice may come late
AT_REST_S = 30.0  # after that, for what is in flight
SHOWN = 20
CLEAN, WRONG, VOID = 0, 1, 3


def main() -> int:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{arguments.seed}-"))
    print(f"seed {arguments.seed}, folder {folder}", flush=True)

    def run(stage: Stage) -> int:
        return Run(stage, arguments).run()

    return run_on_stage(folder, arguments.sites, run, keep=arguments.keep)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.chaos")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second")
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument(
        "--faults", default=",".join(KINDS), help="default: %(default)s"
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs in any case")
    arguments = parser.parse_args()
    arguments.kinds = [kind for kind in arguments.faults.split(",") if kind]
    if set(arguments.kinds) - set(KINDS):
        parser.error(f"--faults takes {', '.join(KINDS)}")
    if arguments.minutes <= 0 or arguments.rate <= 0 or not 1 <= arguments.sites <= 50:
        parser.error("--minutes, --rate and --sites must be positive; 50 sites at most")
    return arguments


class Run:
    """Publish under faults, calm, drain, judge."""

    def __init__(self, stage: Stage, arguments: argparse.Namespace) -> None:
        self._stage = stage
        self._minutes = arguments.minutes
        rate = arguments.rate / len(stage.sites)
        self._publishers = [
            Publisher(
                stage.broker.port, site.code, Script(arguments.seed, site.id), rate
            )
            for site in stage.sites
        ]
        persists = stage.broker.kind == "mosquitto"
        print(
            "broker mosquitto: keeps sessions and messages over a graceful restart; "
            "what it confirmed since its last save a kill would lose, so it is never "
            "killed"
            if persists
            else "broker iotcore: keeps nothing over a restart, so it is only frozen; "
            "it also forgets a session now and then (docs/decisions): 'lost' may be it"
        )
        faults = plan(
            arguments.seed,
            arguments.minutes * 60,
            arguments.kinds,
            site_count=len(stage.sites),
            broker_persists=persists,
        )
        self._hands = Hands(stage, faults)
        self._began = time.monotonic()

    def run(self) -> int:
        for publisher in self._publishers:
            publisher.start()
        try:
            self._hands.start()
            end = time.monotonic() + self._minutes * 60
            while time.monotonic() < end:
                time.sleep(min(PROGRESS_S, max(0.0, end - time.monotonic())))
                self._say_progress("faults")
        finally:
            self._hands.finish()
            self._stage.calm()
            for publisher in self._publishers:
                publisher.stop()
        self._drain()
        counted = self._settle()
        self._stage.stop_workers()
        return self._verdict(counted)

    @property
    def _sent(self) -> list[Sent]:
        return [message for publisher in self._publishers for message in publisher.sent]

    def _say_progress(self, phase: str) -> None:
        sent = sum(len(publisher.sent) for publisher in self._publishers)
        acked = sum(publisher.acked for publisher in self._publishers)
        print(
            f"{time.monotonic() - self._began:5.0f} s {phase}: sent {sent} "
            f"confirmed {acked} stored {self._stage.stored()} "
            f"faults {len(self._hands.happened)} takeovers {self._stage.takeovers} "
            f"now [{'; '.join(self._hands.active)}]",
            flush=True,
        )

    def _drain(self) -> None:
        """Wait until everything is there, or nothing moves any more."""
        self._stage.press_start()
        end = time.monotonic() + DRAIN_S
        moved, last = time.monotonic(), -1
        began = time.monotonic()
        while time.monotonic() < min(end, moved + STILL_S):
            self._say_progress("drain")
            left = lost_so_far(self._sent, self._stage.everything())
            if not left and self._stage.is_up():
                print(f"drained in {time.monotonic() - began:.1f} s")
                return
            if left != last:
                moved, last = time.monotonic(), left
            time.sleep(2)
        print(f"not drained: {last} messages are missing")

    def _settle(self) -> list[Problem]:
        """Let everything come to rest; return what the API's counters do not tell."""
        time.sleep(SETTLE_S)
        end = time.monotonic() + AT_REST_S
        while (problems := self._unbalanced()) and time.monotonic() < end:
            time.sleep(1)
        return problems

    def _unbalanced(self) -> list[Problem]:
        try:
            return unbalanced(self._stage.counters())
        except httpx.HTTPError as error:
            return [Problem("accounting", 0, f"the API does not tell: {error}")]

    def _verdict(self, counted: list[Problem]) -> int:
        stage, sent = self._stage, self._sent
        store = stage.everything()
        problems = [*judge(sent, store), *counted]
        problems += [
            Problem(
                "exit",
                0,
                f"{each.name} ended by itself with {each.code}:\n{each.last_words}",
                (each.at,),
            )
            for each in stage.exits
        ]
        redelivered = sum(books.duplicate for books in store.books.values())
        confirmed = sum(message.acked_at is not None for message in sent)
        print(
            f"\nsent {len(sent)}, confirmed {confirmed}, readings {len(store.rows)}, "
            f"quarantined {len(store.quarantine)}, redelivered {redelivered}, "
            f"takeovers {stage.takeovers}, spool drains {stage.spool_drains}, "
            f"exits {len(stage.exits)}, suspected gaps {stage.gaps() or 0}"
        )
        print(f"longest time without a living lease: {stage.longest_orphaned_s:.1f} s")
        done = Counter(h.fault.action for h in self._hands.happened)
        print("faults:", ", ".join(f"{name} {n}" for name, n in sorted(done.items())))
        for failure in self._hands.failures:
            print("fault not undone cleanly:", failure)
        if problems:
            self._show(problems)
            return WRONG
        shown = {
            "redelivery": redelivered,
            "takeover": stage.takeovers,
            "spool drain": stage.spool_drains,
        }
        missing = [name for name, times in shown.items() if not times]
        if missing:
            print(f"VOID: no {', no '.join(missing)} happened; try another seed")
            return VOID
        print("CLEAN: nothing lost, nothing twice, nothing different")
        return CLEAN

    def _show(self, problems: list[Problem]) -> None:
        kinds = Counter(problem.kind for problem in problems)
        print("WRONG:", ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
        for problem in _first(problems):
            moments = [
                time.strftime("%H:%M:%S", time.localtime(moment))
                + f".{int(moment % 1 * 1_000):03d}"
                for moment in problem.moments
            ]
            print(f"- site {problem.site} {problem.kind}: {problem.words}")
            print(f"    at {', '.join(moments) or '-'}")
            for fault in self._hands.near(problem.moments):
                print(f"    near {fault}")


def _first(problems: list[Problem]) -> list[Problem]:
    """Return what is shown: a few of each kind, the rare kinds first."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    each = max(1, SHOWN // max(1, len(by_kind)))
    shown = [
        problem
        for kind in sorted(by_kind, key=lambda kind: len(by_kind[kind]))
        for problem in by_kind[kind][:each]
    ]
    return shown[:SHOWN]


if __name__ == "__main__":
    sys.exit(main())
