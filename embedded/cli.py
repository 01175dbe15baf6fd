"""The commands of dev.py, inside the virtual environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from embedded import arguments, checks, detach, screenshots, statusview, suite, up
from embedded.errors import DevError

STDOUT = 1


def main(root: Path, argv: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    chosen = arguments.parse(argv)
    try:
        return _run(root, chosen)
    except DevError as error:
        report_to = getattr(chosen, "report_to", None)
        if report_to is not None:
            detach.report_failure(report_to, str(error))
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `| head` has seen enough
        return 1


def _run(root: Path, chosen: argparse.Namespace) -> int:
    match chosen.command:
        case "up":
            return _up(root, chosen)
        case "down":
            return statusview.stop_system(root)
        case "status":
            return statusview.show_status(root, as_json=chosen.json)
        case "env":
            return statusview.print_variables(root)
        case "manage":
            return statusview.manage(root, chosen.rest)
        case "test":
            return suite.run_tests(root, chosen.rest)
        case "screenshots":
            return screenshots.make_screenshots(root, Path(chosen.folder).absolute())
    return checks.run_checks(root)


def _up(root: Path, chosen: argparse.Namespace) -> int:
    if chosen.detach:
        return detach.run_detached(root, ["--no-demo"] if chosen.no_demo else [])
    return up.run_system(
        root,
        demo=not chosen.no_demo,
        descriptor=STDOUT if chosen.report_to is None else chosen.report_to,
        detached=chosen.report_to is not None,
    )
