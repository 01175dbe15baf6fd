"""A progress bar for commands: a line drawn anew, or now and then a line in a log."""

from __future__ import annotations

import time
from typing import IO

_WIDTH = 30
_REDRAW_S = 0.2
_LOG_S = 10.0


class Bar:
    """Says how far a command is; `total` in any unit."""

    def __init__(self, out: IO[str], label: str, total: int) -> None:
        self._out, self._label, self._total = out, label, max(total, 1)
        self._began = time.monotonic()
        self._drawn = 0.0
        self._is_terminal = out.isatty()

    def show(self, done: int, note: str = "") -> None:
        """Draw, unless that was just done; the end is always drawn."""
        now = time.monotonic()
        is_end = done >= self._total
        pause = _REDRAW_S if self._is_terminal else _LOG_S
        if now - self._drawn < pause and not is_end:
            return
        self._drawn = now
        share = min(done / self._total, 1.0)
        spent = now - self._began
        bar = "#" * round(share * _WIDTH)
        left = f"{spent / share - spent:.0f} s left" if share else ""
        text = (
            f"{self._label} [{bar:<{_WIDTH}}] {share:4.0%} "
            f"{f'{spent:.0f} s' if is_end else left} {note}"
        ).rstrip()
        if self._is_terminal:
            self._out.write(f"\r{text}\x1b[K" + ("\n" if is_end else ""))
        else:
            self._out.write(text + "\n")
        self._out.flush()
