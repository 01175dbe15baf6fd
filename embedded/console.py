"""Where output goes: one log file a process, and lines with the name before them."""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from contextlib import suppress
from pathlib import Path

LOG_BYTES = 10 * 1024 * 1024
WAITING_LINES = 5000  # about a megabyte, for a reader that pauses
CLOSE_TIMEOUT_S = 2.0


class Log:
    """An append-only log file; at 10 MB it becomes NAME.log.1 and begins anew."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / f"{name}.log"
        self._lock = threading.Lock()
        self._file = self.path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, line: bytes) -> None:
        # A full disk must not stop the system: then the line is lost.
        with self._lock, suppress(OSError):
            if self._size > LOG_BYTES:
                self._rotate()
            self._file.write(line)
            self._size += len(line)

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        self._file = self.path.open("ab", buffering=0)
        self._size = 0


class Console:
    """Our standard output, written by a thread of its own.

    A reader that pauses or goes away (`| less`, a script that stops reading) must never
    block the system: what it does not take in time is dropped, and is in the logs.

    Args:
        descriptor: where to write, None for nowhere.
        width: of the column of names.
        with_processes: False shows only what dev.py itself says.
        log: keeps what dev.py itself says.
    """

    def __init__(
        self,
        descriptor: int | None,
        *,
        width: int = 8,
        with_processes: bool = True,
        log: Log | None = None,
    ) -> None:
        self._log = log
        self._descriptor = descriptor
        self._width = width
        self._with_processes = with_processes
        self._waiting: queue.Queue[bytes] = queue.Queue(WAITING_LINES)
        self._dropped = 0
        threading.Thread(target=self._write_all, daemon=True, name="console").start()

    def process_line(self, name: str, line: bytes) -> None:
        if self._with_processes:
            self._put(f"{name:<{self._width}} | ".encode() + line)

    def say(self, text: str) -> None:
        line = text.encode(errors="replace") + b"\n"
        if self._log is not None:
            self._log.write(time.strftime("%Y-%m-%d %H:%M:%S ").encode() + line)
        self._put(line)

    def say_privately(self, text: str) -> None:
        """Say something that must not stay in a log."""
        self._put(text.encode(errors="replace") + b"\n")

    def close(self) -> None:
        """Wait a moment until what was said is written, then fall silent."""
        end = time.monotonic() + CLOSE_TIMEOUT_S
        while self._descriptor is not None and self._waiting.unfinished_tasks:
            if time.monotonic() > end:
                break
            time.sleep(0.01)
        self._descriptor = None

    def _put(self, line: bytes) -> None:
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def _write_all(self) -> None:
        while True:
            line = self._waiting.get()
            if self._dropped:
                line = b"(%d lines left out, see .run/logs)\n" % self._dropped + line
                self._dropped = 0
            self._write(line)
            self._waiting.task_done()

    def _write(self, line: bytes) -> None:
        while line and self._descriptor is not None:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # somebody made our end non-blocking
                select.select([], [self._descriptor], [], 1)
            except OSError:  # nobody reads any more
                self._descriptor = None
