"""Takes PostgreSQL away for minutes under load, and measures what that costs.

    python3 -m tests.chaos.outage --seconds 120 --rate 500 --fault stop

Nothing the broker confirmed may be missing, doubled or different; the spools are empty
within 30 s of the return; no worker grows beyond 300 MB. Exit status as tests.chaos.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2

from tests.chaos.judge import judge
from tests.chaos.messages import Script
from tests.chaos.publisher import Publisher
from tests.chaos.stage import WORKERS, Stage, run_on_stage

FAULTS = ("stop", "kill", "freeze", "readonly")
WARM_UP_S = 8.0
GOAL_DRAIN_S, GOAL_MB = 30.0, 300.0
CLEAN, WRONG = 0, 1


def main() -> int:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="outage-"))

    def run(stage: Stage) -> int:
        return Outage(stage, arguments).run()

    return run_on_stage(folder, arguments.sites, run, keep=arguments.keep)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.chaos.outage")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rate", type=float, default=500.0, help="messages a second")
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--fault", choices=FAULTS, default="stop")
    parser.add_argument("--keep", action="store_true", help="keep the logs in any case")
    return parser.parse_args()


class Outage:
    """Warm up, take PostgreSQL away, give it back, wait for the drain, judge."""

    def __init__(self, stage: Stage, arguments: argparse.Namespace) -> None:
        self._stage = stage
        self._arguments = arguments
        rate = arguments.rate / len(stage.sites)
        self._publishers = [
            Publisher(stage.broker.port, site.code, Script(1, site.id), rate)
            for site in stage.sites
        ]
        self._peak_mb: dict[str, float] = {}
        self._most_spooled = 0
        self._over = threading.Event()

    def run(self) -> int:
        watching = threading.Thread(target=self._watch)
        watching.start()
        for publisher in self._publishers:
            publisher.start()
        try:
            time.sleep(WARM_UP_S)
            with self._away():
                self._wait(self._arguments.seconds)
            back = time.monotonic()
            staleness, drain_s = self._drained(back)
        finally:
            for publisher in self._publishers:
                publisher.stop()
            self._over.set()
            watching.join()
        self._settle()
        return self._verdict(staleness, drain_s)

    @contextmanager
    def _away(self):
        stage, fault = self._stage, self._arguments.fault
        server = stage.postgres
        print(f"{fault}: PostgreSQL is away for {self._arguments.seconds:.0f} s")
        if fault == "freeze":
            server.freeze()
            try:
                yield
            finally:
                server.thaw()
        elif fault == "readonly":
            _system(stage, "ALTER SYSTEM SET default_transaction_read_only = on")
            try:
                yield
            finally:
                _system(stage, "ALTER SYSTEM RESET default_transaction_read_only")
        else:
            server.kill() if fault == "kill" else server.stop(30)
            try:
                yield
            finally:
                server.start(60)
        print("PostgreSQL is back")

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(10.0, max(0.0, end - time.monotonic())))
            self._say()

    def _drained(self, back: float) -> tuple[float, float]:
        """Return how old the newest stored message was at the most, and how long."""
        oldest = 0.0
        while time.monotonic() < back + 120:
            age = self._newest_age()
            if time.monotonic() > back + 5:  # by then live data has to be there
                oldest = max(oldest, age)
            if not any(self._spooled().values()):
                return oldest, time.monotonic() - back
            time.sleep(0.5)
        return oldest, float("inf")

    def _newest_age(self) -> float:
        try:
            row = self._stage.sql(
                "SELECT extract(epoch FROM now() - max(received_at)) "
                "FROM telemetry_reading WHERE measured_at > now() - interval '1 hour'"
            )[0]
        except psycopg2.Error:
            return 0.0
        return float(row[0] or 0.0)

    def _spooled(self) -> dict[str, int]:
        found = {}
        for path in (self._stage.folder / "spool").glob("*/*/*.sqlite3"):
            found[f"{path.parent.name}/{path.name}"] = _rows(path)
        return found

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for name in WORKERS:
                process = self._stage.processes[name].popen
                if process is not None and process.poll() is None:
                    now = _rss_mb(process.pid)
                    self._peak_mb[name] = max(self._peak_mb.get(name, 0.0), now)
            self._most_spooled = max(self._most_spooled, sum(self._spooled().values()))

    def _say(self) -> None:
        acked = sum(publisher.acked for publisher in self._publishers)
        sent = sum(len(publisher.sent) for publisher in self._publishers)
        print(
            f"  sent {sent} confirmed {acked} spooled {sum(self._spooled().values())}"
        )

    def _settle(self) -> None:
        """Wait until every site's books show all that was sent, or nothing moves."""
        last, moved = -1, time.monotonic()
        while time.monotonic() < moved + 15:
            now = self._stage.stored()
            if now != last:
                last, moved = now, time.monotonic()
            sent = sum(len(publisher.sent) for publisher in self._publishers)
            if now >= sent:
                break
            time.sleep(1)
        time.sleep(3)
        self._stage.stop_workers()

    def _verdict(self, staleness: float, drain_s: float) -> int:
        sent = [message for publisher in self._publishers for message in publisher.sent]
        confirmed = sum(message.acked_at is not None for message in sent)
        store = self._stage.everything()
        problems = judge(sent, store)
        peak = max(self._peak_mb.values())
        checks = {
            f"nothing lost, doubled or different of {confirmed} confirmed "
            f"({len(problems)} problems)": not problems,
            f"at most {self._most_spooled} messages in the spools": (
                self._most_spooled > 0
            ),
            f"empty {drain_s:.1f} s after the return (goal {GOAL_DRAIN_S:.0f})": (
                drain_s <= GOAL_DRAIN_S
            ),
            f"newest stored message at most {staleness:.1f} s old meanwhile (goal 5)": (
                staleness <= 5
            ),
            f"largest worker {peak:.0f} MB (goal {GOAL_MB:.0f})": peak <= GOAL_MB,
            f"{len(self._stage.exits)} processes ended by themselves": (
                not self._stage.exits
            ),
        }
        for site, books in sorted(store.books.items()):
            print(site, books)
        for words, is_good in checks.items():
            print("  ok " if is_good else "WRONG", words)
        for problem in problems[:20]:
            print("-", problem.site, problem.kind, problem.words, problem.moments)
        return CLEAN if all(checks.values()) else WRONG


def _system(stage: Stage, statement: str) -> None:
    with stage.db() as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            cursor.execute("SELECT pg_reload_conf()")


def _rows(path: Path) -> int:
    """Count without being in the worker's way."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM message").fetchone()[0])
    except sqlite3.Error:
        return 0


def _rss_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1_024
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
