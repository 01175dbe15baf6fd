"""Measures how fast it is and prints a table; the numbers are docs/performance.md's.

    .venv/bin/python -m bench [NAME ...] [--quick] [--output FILE]

Every measurement brings its own servers on free ports and leaves nothing behind. Exit
status 1 when a goal was missed. On a machine that does other work as well, the numbers
are the machine's.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.results import Result, table

MEASUREMENTS = {
    "ingest": "messages stored a second, against the documents' way and paho alone",
    "latency": "publish -> committed and -> browser, at 100, 1,000 and 5,000 a second",
    "connections": "2,000 connections in one worker: memory, connecting, ending",
    "starting": "from a person's start to connected",
    "takeover": "a standby's, after SIGKILL and SIGTERM",
    "fairness": "one site's latency while another one storms",
    "streams": "browsers times events",
    "growth": "the cost of a message as sites, devices and the history grow",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="\n".join(f"  {name:12} {what}" for name, what in MEASUREMENTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="default: all of those below"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a look whether it runs; no numbers to keep",
    )
    parser.add_argument("--output", type=Path, help="write the tables there as well")
    options = parser.parse_args()
    unknown = set(options.names) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    text, results = run(options.names or list(MEASUREMENTS), quick=options.quick)
    if options.output:
        options.output.write_text(text)
    return 0 if all(result.is_met for result in results) else 1


def run(names: list[str], *, quick: bool) -> tuple[str, list[Result]]:
    """Measure; return what was printed, and all results."""
    text, everything = "", []
    head = machine() + (", quick run\n" if quick else "\n")
    print(head)
    for name in names:
        began = time.monotonic()
        print(f"{name}: {MEASUREMENTS[name]}", flush=True)
        results = importlib.import_module(f"bench.{name}").measure(quick=quick)
        section = f"{table(results)}\n"
        print(f"{section}({time.monotonic() - began:.0f} s)\n", flush=True)
        text += f"\n## {name}: {MEASUREMENTS[name]}\n\n{section}"
        everything += results
    return head + text, everything


def machine() -> str:
    """Return what the numbers depend on, in a line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    load = Path("/proc/loadavg")
    busy = load.read_text().split()[0] if load.exists() else "?"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {models[0] if models else platform.machine()}, "
        f"{len(models) or '?'} cores, Python {platform.python_version()}, "
        f"load {busy} before"
    )


if __name__ == "__main__":
    sys.exit(main())
