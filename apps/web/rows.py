"""What the pages show about sites and devices: states from the selectors, in words.

Decisions are pure; the queries at the end are constant in the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Count, Q
from django.urls import reverse

from apps.devices.models import Datalogger, Presence, SensorDevice
from apps.devices.selectors import (
    DataloggerState,
    SensorState,
    datalogger_states,
    sensor_state,
)
from apps.sites.badges import Badge, badge_for, reason_in_words
from apps.sites.models import Reason, Status
from apps.sites.selectors import ConnectionStatus, statuses_of, visible_connections

if TYPE_CHECKING:
    from apps.sites.models import MqttConnection
    from apps.sites.selectors import Person

# The reconcile heals a lost command within 30 s; after that something is wrong.
SLOW_AFTER = timedelta(seconds=35)
_TRANSITIONAL = (Status.CONNECTING, Status.DISABLED)


@dataclass(frozen=True, slots=True)
class Controls:
    """Which of the buttons can be pressed."""

    can_start: bool
    can_stop: bool
    can_restart: bool


@dataclass(frozen=True, slots=True)
class DeviceCount:
    """Dataloggers by presence."""

    online: int = 0
    offline: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        return self.online + self.offline + self.unknown


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One site as the list and the site's panel show it. `since` is None if unknown."""

    state: ConnectionStatus
    url: str
    badge: Badge
    reason: str
    since: datetime | None
    zone: str
    devices: DeviceCount
    controls: Controls
    is_slow: bool

    @property
    def has_broker(self) -> bool:
        return bool(self.state.broker_host)

    @property
    def worker(self) -> str:
        """The owner's node; which process of it matters to programs only."""
        return self.state.owner.partition("/")[0]

    @property
    def rate(self) -> int | None:
        """Messages in the last whole minute; None if nobody counted."""
        flow = self.state.per_minute
        return flow[-1] if flow else None

    @property
    def start_url(self) -> str:
        return f"{self.url}start/"

    @property
    def stop_url(self) -> str:
        return f"{self.url}stop/"

    @property
    def restart_url(self) -> str:
        return f"{self.url}restart/"

    @property
    def search_text(self) -> str:
        parts = (self.state.site_name, self.state.site_code, self.state.broker_host)
        return " ".join(parts).lower()

    def matches(self, query: str, status: str) -> bool:
        """Return whether the filter shows this row; empty parts let everything pass."""
        words = query.lower().split()
        return status in ("", self.state.status) and all(
            word in self.search_text for word in words
        )


def controls_for(
    status: str, *, is_enabled: bool, has_broker: bool, is_slow: bool
) -> Controls:
    """Return what can be pressed; `status.js` decides the same between two events.

    While a change is under way it cannot be asked for twice, but a connection that
    keeps trying can always be stopped, and nothing stays locked for ever.
    """
    under_way = status in _TRANSITIONAL and not is_slow
    wants_start = not is_enabled or status == Status.ERROR or is_slow
    return Controls(
        can_start=has_broker and wants_start and not under_way,
        can_stop=is_enabled,
        can_restart=has_broker and is_enabled and not under_way,
    )


def is_slow(status: str, since: datetime | None, *, now: datetime) -> bool:
    """Return whether a change that should have happened by now has not."""
    return status in _TRANSITIONAL and since is not None and now - since > SLOW_AFTER


class Words:
    """What many rows have in common, looked up once a page: words and addresses."""

    def __init__(self) -> None:
        self.badges = {status.value: badge_for(status) for status in Status}
        self.reasons = {reason.value: reason_in_words(reason) for reason in Reason}
        self._url = reverse("web:site", args=[0])

    def url_of(self, site_id: int) -> str:
        return self._url.replace("/0/", f"/{site_id}/")


def row_of(
    connection: MqttConnection,
    state: ConnectionStatus,
    devices: DeviceCount,
    words: Words,
    *,
    now: datetime,
) -> SiteRow:
    # The row's time belongs to the row's status; nobody recorded the other one's.
    recorded = connection.status == state.status
    since = connection.status_changed_at if recorded else None
    slow = is_slow(state.status, since, now=now)
    has_broker = bool(state.broker_host)
    return SiteRow(
        state=state,
        url=words.url_of(state.site_id),
        badge=words.badges[state.status],
        reason=words.reasons[state.reason],
        since=since,
        zone=connection.site.timezone,
        devices=devices,
        controls=controls_for(
            state.status,
            is_enabled=state.is_enabled,
            has_broker=has_broker,
            is_slow=slow,
        ),
        is_slow=slow,
    )


def site_rows(
    user: Person, site_ids: Iterable[int] | None = None, *, now: datetime
) -> list[SiteRow]:
    """Return the sites this user may see: four queries and one Redis read."""
    connections = list(visible_connections(user, site_ids))
    states = statuses_of(user, connections)
    counts = device_counts([connection.site_id for connection in connections])
    words, none = Words(), DeviceCount()
    return [
        row_of(connection, state, counts.get(state.site_id, none), words, now=now)
        for connection, state in zip(connections, states, strict=True)
    ]


def device_counts(site_ids: Sequence[int]) -> dict[int, DeviceCount]:
    """Count each site's dataloggers; a site without any is missing."""
    rows = Datalogger.objects.filter(site_id__in=site_ids).order_by()
    counted = rows.values("site_id").annotate(
        online=_with(Presence.ONLINE),
        offline=_with(Presence.OFFLINE),
        unknown=_with(Presence.UNKNOWN),
    )
    return {
        row["site_id"]: DeviceCount(row["online"], row["offline"], row["unknown"])
        for row in counted
    }


def _with(presence: Presence) -> Count:
    return Count("pk", filter=Q(presence=presence))


def with_sensors(
    dataloggers: Sequence[Datalogger], *, now: datetime
) -> list[DataloggerState]:
    """Return the dataloggers of one page with their sensors and values: 3 queries."""
    sensors: dict[int, list[SensorState]] = {}
    found = SensorDevice.objects.filter(datalogger__in=[row.pk for row in dataloggers])
    for sensor in found.select_related("datalogger"):
        sensors.setdefault(sensor.datalogger_id, []).append(sensor_state(sensor))
    return [
        replace(state, sensors=tuple(sensors.get(state.id, ())))
        for state in datalogger_states(dataloggers, now=now)
    ]


@dataclass(frozen=True, slots=True)
class Summary:
    """All the sites that somebody may see, in a few numbers."""

    total: int
    by_status: dict[str, int]
    stopped: int
    devices: DeviceCount
    rate: int

    @property
    def connected(self) -> int:
        return self.by_status[Status.CONNECTED]

    @property
    def failing(self) -> int:
        return self.by_status[Status.ERROR]


def summary_of(rows: Sequence[SiteRow]) -> Summary:
    return Summary(
        total=len(rows),
        by_status=count_by_status(rows),
        stopped=sum(not row.state.is_enabled for row in rows),
        devices=DeviceCount(
            online=sum(row.devices.online for row in rows),
            offline=sum(row.devices.offline for row in rows),
            unknown=sum(row.devices.unknown for row in rows),
        ),
        rate=sum(row.rate or 0 for row in rows),
    )


def count_by_status(rows: Iterable[SiteRow]) -> dict[str, int]:
    """Return the number of rows by status, every status being there."""
    counts = {status.value: 0 for status in Status}
    for row in rows:
        counts[row.state.status] += 1
    return counts
