"""When which device is due: the fleet's only queue of time."""

from __future__ import annotations

import heapq
import itertools

from workers.fleet.crew import Slot
from workers.fleet.link import Link


class Schedule:
    """Devices by the time at which they want to be stepped; the last `put` counts."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Slot, Link]] = []
        self._order = itertools.count()  # equal times: first come, first served

    def put(self, slot: Slot, link: Link, due: float) -> None:
        slot.due = due
        heapq.heappush(self._heap, (due, next(self._order), slot, link))

    def pop_due(self, now: float) -> tuple[Slot, Link] | None:
        """Take out a device whose time has come; None when there is none."""
        while self._heap and self._heap[0][0] <= now:
            due, _order, slot, link = heapq.heappop(self._heap)
            if due == slot.due:  # else it was put at another time since
                return slot, link
        return None

    def wait_s(self, now: float, *, most_s: float) -> float:
        """Return how long nobody is due, at most `most_s`."""
        if not self._heap:
            return most_s
        return min(most_s, max(0.0, self._heap[0][0] - now))
