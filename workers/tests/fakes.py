"""A spec, and a supervisor and links that only note what a connection asks of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from zoneinfo import ZoneInfo

from workers.connection import BrokerConnection, Snapshot
from workers.link import Link
from workers.spec import ConnectionSpec

SPEC = ConnectionSpec(
    connection_id=7,
    site_id=3,
    shard=1,
    generation=1,
    code="site_003",
    zone=ZoneInfo("UTC"),
    host="broker.example.com",
    port=1883,
    client_id="site_3_test",
    username="user",
    password="CANARY-password",
    protocol="3.1.1",
    keepalive_s=15,
    clean_session=False,
    has_will=True,
    tls=None,
    filters=(("site_003/gateway/+/heartbeat", 1), ("site_003/datalogger/+/+/data", 1)),
    unwanted=(),
)


def a_spec(**but: Any) -> ConnectionSpec:
    return replace(SPEC, **but)


class FakeLink:
    """Notes what was asked of it in `said`; closes when told to disconnect."""

    def __init__(self, connection: BrokerConnection, *, is_wipe: bool) -> None:
        self.spec = connection.spec
        self.is_wipe = is_wipe
        self.is_opening = True
        self.is_closed = False
        self.was_accepted = False
        self.accepted_at = 0.0
        self.server_code: int | None = None
        self.broke_protocol = ""
        self.is_stuck = False  # nothing fits into its socket
        self.said: list[tuple[Any, ...]] = []
        self._listener = connection
        self._mid = 0

    def subscribe(self) -> None:
        self.said.append(("subscribe", *[name for name, _ in self.spec.filters]))

    def unsubscribe(self, names: list[str]) -> None:
        self.said.append(("unsubscribe", *names))

    def publish(self, topic: str, payload: str, *, qos: int, retain: bool) -> int:
        self.said.append(("publish", topic, payload, qos, retain))
        self._mid += 1
        return self._mid

    def on_writable(self) -> None:
        pass

    def misc(self) -> None:
        self.said.append(("misc",))

    def disconnect(self, *, end_session: bool = False) -> None:
        self.said.append(("disconnect", end_session))
        if not self.is_stuck:
            self.is_closed = True
            self._listener.link_closed(cast("Link", self))

    def close(self) -> None:
        self.said.append(("close",))
        self.is_closed = True


class Stage:
    """The host of one connection; plays the executor and the broker's answers."""

    def __init__(self, **but: Any) -> None:
        self.links: list[FakeLink] = []
        self.forgotten: list[FakeLink] = []
        self.snapshots: list[Snapshot] = []
        self.is_gone = False
        self.room = True
        self.broker_is_up = True
        self.connection = BrokerConnection(self, a_spec(**but))

    # -- Host ------------------------------------------------------------------

    def open_link(self, connection: BrokerConnection, *, is_wipe: bool) -> Link:
        self.links.append(FakeLink(connection, is_wipe=is_wipe))
        return cast("Link", self.links[-1])

    def probe(self, connection: BrokerConnection, told: Callable[[bool], None]) -> None:
        told(self.broker_is_up)

    def forget_link(self, link: Link) -> None:
        self.forgotten.append(cast("FakeLink", link))

    def gone(self, connection: BrokerConnection) -> None:
        self.is_gone = True

    def report(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def has_room(self, connection_id: int) -> bool:
        return self.room

    # -- what tests play -------------------------------------------------------

    @property
    def link(self) -> FakeLink:
        return self.links[-1]

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]

    @property
    def statuses(self) -> list[str]:
        return [snapshot.status for snapshot in self.snapshots]

    def opened(self, error: Exception | None = None) -> bool:
        return self.connection.link_opened(cast("Link", self.link), error)

    def accepted(self, *, session_present: bool = False) -> None:
        self.link.was_accepted = True
        self.link.accepted_at = time.monotonic()
        self.connection.link_accepted(
            cast("Link", self.link), session_present=session_present
        )

    def subscribed(self, *refused: str) -> None:
        self.connection.link_subscribed(cast("Link", self.link), list(refused))

    def closed(self, link: FakeLink | None = None) -> None:
        link = link or self.link
        link.is_closed = True
        self.connection.link_closed(cast("Link", link))

    def published(self, mid: int) -> None:
        self.connection.link_published(cast("Link", self.link), mid)

    def connect(self) -> Stage:
        """Start and come up."""
        self.connection.start()
        self.come_up()
        return self

    def come_up(self) -> None:
        self.opened()
        self.accepted()
        self.subscribed()

    def later(self, seconds: float) -> None:
        self.connection.tick(time.monotonic() + seconds)
