"""`dev.py test`: pytest on a PostgreSQL and a Valkey of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

from embedded.environment import new_secrets, process_environ, without_settings
from embedded.postgres import Postgres
from embedded.valkey import Valkey

INTERRUPTED = 128 + signal.SIGINT


def run_tests(root: Path, arguments: Sequence[str]) -> int:
    """Run pytest and clean up after it; returns its exit code.

    Args:
        root: repository root.
        arguments: for pytest; relative paths count from the root.

    Raises:
        ServerError: a server cannot start.
    """
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        try:
            variables = start_servers(stack)
        except KeyboardInterrupt:
            return INTERRUPTED
        # What the user has set must not decide whether a test passes.
        clean = without_settings(root, os.environ)
        environ = process_environ(root, clean, variables)
        command = [sys.executable, "-m", "pytest", *_at_once(arguments), *arguments]
        return _run(command, root, environ)


def _at_once(arguments: Sequence[str]) -> list[str]:
    """Run the whole suite in three processes; a chosen part of it in one.

    Half of it waits for processes, brokers and browsers. A file stays with one of
    them, since its tests share what its fixtures started; conftest.py puts the slow
    ones first, which xdist would put last: they have the fewest tests.
    """
    is_whole = all(argument.startswith("-") for argument in arguments)
    if not is_whole:
        return []
    return ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]


def start_servers(stack: ExitStack) -> dict[str, str]:
    """Start what tests need until the stack unwinds; return their environment."""
    state = Path(tempfile.mkdtemp(prefix="guardiano-test-"))
    stack.callback(shutil.rmtree, state, ignore_errors=True)
    postgres = Postgres(state, fsync=False)
    stack.callback(postgres.remove_data)
    valkey = Valkey(state / "valkey")
    for server in (valkey, postgres):
        stack.callback(server.stop)
        server.start(timeout_s=60)
    made = new_secrets()
    return {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DATABASE_URL": postgres.url,
        "REDIS_URL": valkey.url,
        "SECRET_KEY": made["SECRET_KEY"],
        "FIELD_ENCRYPTION_KEYS": made["FIELD_ENCRYPTION_KEYS"],
    }


def _run(command: list[str], root: Path, environ: dict[str, str]) -> int:
    """Run pytest in our own process group: the terminal's Ctrl-C reaches it itself."""
    with subprocess.Popen(command, cwd=root, env=environ) as pytest:

        def pass_on(number: int, _frame: FrameType | None) -> None:
            # Twice, from a terminal, is how pytest is told to hurry: no harm.
            with suppress(ProcessLookupError):
                pytest.send_signal(
                    signal.SIGINT if number != signal.SIGTERM else number
                )

        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, pass_on)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = pytest.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind like Ctrl-C while the servers start."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # cleaning up is not interrupted
