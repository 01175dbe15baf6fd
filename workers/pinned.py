"""Which dataloggers are pinned to a protocol version, read anew every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db.utils import Error as DatabaseError

from apps.devices.models import Datalogger
from apps.telemetry.facts import DeviceRef

REFRESH_S = 10.0


class PinnedVersions:
    """A cache for the writer; while the database is away the last answer holds."""

    def __init__(self) -> None:
        self._pins: dict[tuple[int, str, str], int] = {}
        self._read_at = -REFRESH_S

    def refresh(self) -> None:
        """Read the pins if the last look was long ago; call once a batch."""
        now = time.monotonic()
        if now - self._read_at >= REFRESH_S:
            self._read_at = now
            self._read()

    def of_site(self, site_id: int) -> Callable[[DeviceRef], int | None]:
        pins = self._pins
        if not pins:
            return _none
        return lambda device: pins.get((site_id, device.type or "", device.number))

    def _read(self) -> None:
        rows = Datalogger.objects.exclude(protocol_version=None).values_list(
            "site_id", "type", "number", "protocol_version"
        )
        try:
            self._pins = {(s, t, n): v for s, t, n, v in rows if v is not None}
        except DatabaseError:
            return  # the batch itself will say so, and wait


def _none(_device: DeviceRef) -> int | None:
    return None
