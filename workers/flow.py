"""How many messages came in each minute, for the little curves on the pages. Pure."""

from __future__ import annotations

MINUTES = 30


class Flow:
    """Counts by connection and minute; a minute is a number that grows by one.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self) -> None:
        self._since: dict[int, int] = {}
        self._counts: dict[int, dict[int, int]] = {}

    def know(self, connection_id: int, minute: int) -> None:
        """Note that whatever this connection brings from now on is counted."""
        self._since.setdefault(connection_id, minute)

    def add(self, connection_id: int, count: int, minute: int) -> None:
        counts = self._counts.setdefault(connection_id, {})
        counts[minute] = counts.get(minute, 0) + count
        for old in [known for known in counts if known < minute - MINUTES]:
            del counts[old]

    def forget(self, connection_id: int) -> None:
        self._since.pop(connection_id, None)
        self._counts.pop(connection_id, None)

    def series(self, connection_id: int, minute: int) -> tuple[int, ...]:
        """Return the counts of the whole minutes before `minute`, the newest last."""
        since = self._since.get(connection_id)
        if since is None:
            return ()
        counts = self._counts.get(connection_id, {})
        first = max(since + 1, minute - MINUTES)  # the first one was not a whole one
        return tuple(counts.get(each, 0) for each in range(first, minute))
