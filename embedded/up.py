"""`dev.py up`: one claim on `.run`, one system, one clean end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from embedded.console import Console, Log
from embedded.detach import READY
from embedded.procfile import RESERVED, read_procfile
from embedded.rundir import RunDir
from embedded.runner import Interrupted, StopRequest, width_for
from embedded.system import System


def run_system(
    root: Path, *, demo: bool, descriptor: int | None, detached: bool
) -> int:
    """Run `up` until somebody stops it; returns the exit code.

    Args:
        root: repository root.
        demo: see `System`.
        descriptor: where to write; of a detached run a pipe to the waiting parent.
        detached: show only progress, and let go of the descriptor when ready.

    Raises:
        DevError: it could not start; everything is stopped.
    """
    stop = StopRequest()
    stop.install()
    run = RunDir(root / ".run")
    run.claim()
    console = Console(
        descriptor,
        width=width_for([*read_procfile(root / "Procfile"), *RESERVED]),
        with_processes=not detached,
        log=Log(run.logs, "system"),
    )
    if ended := run.end_leftovers():
        console.say(f"dev.py: ended {ended} process(es) that a killed run had left")
    system: System | None = None
    try:
        system = System(root, run, console, stop, environ=os.environ, demo=demo)
        system.start()
        console.say_privately(system.banner())
        if detached:
            console.say_privately(READY)
            console.close()
        system.watch()
        code = 0
    except Interrupted:
        code = 128 + signal.SIGINT
    finally:
        if system is None:
            run.release()
        else:
            console.say("dev.py: stopping")
            system.finish()
            console.say("dev.py: stopped")
        console.close()
    return code
