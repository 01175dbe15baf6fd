from __future__ import annotations

import pytest

from embedded.server import LONGEST_REASON, reason_in


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], ""),
        (["", "  "], ""),
        (["first", "ValueError: no", ""], "ValueError: no"),
        (
            ["Error: connection failed", "\tIs the server running?"],
            "Error: connection failed",
        ),
        (["    only indented"], "only indented"),
        (
            ["x FATAL:  no space", "x LOG:  database system is shut down"],
            "x FATAL:  no space",
        ),
        (["12: Warning: not as root", "12: Error: in use"], "12: Error: in use"),
        (["9:M 21 Nov # WARNING Memory overcommit"], ""),
        (["x" * 1000], "x" * LONGEST_REASON),
    ],
)
def test_the_reason_is_the_last_line_that_tells_one(lines: list[str], reason: str):
    assert reason_in(lines) == reason
