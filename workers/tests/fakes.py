"""A spec, and a supervisor and links that only note what a connection asks of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast
from zoneinfo import ZoneInfo

from workers.connection import BrokerConnection
from workers.farewell import Farewell
from workers.link import Link, Owner, Sink
from workers.pahoclient import Publish
from workers.snapshot import Snapshot
from workers.spec import ConnectionSpec
from workers.standing import Claim

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


class Clock:
    """Stands still until a test moves `now`, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_spec(**but: Any) -> ConnectionSpec:
    return replace(SPEC, **but)


class FakeLink:
    """Notes what was asked of it in `said`; closes when told to disconnect."""

    def __init__(self, spec: ConnectionSpec, owner: Owner, sink: Sink | None) -> None:
        self.spec = spec
        self.sink = sink
        self.is_wipe = isinstance(owner, Farewell)
        self.is_snapshot = spec.client_id.endswith("_retained")
        self.peer: object = (spec.host, spec.port)
        self.session = 1
        self.was_silent = False
        self.tls_alert = ""
        self.retained_seen = 0
        self.live_topics: set[bytes] | None = None
        self.lowered: dict[str, int] = {}
        self.is_opening = True
        self.is_closed = False
        self.was_accepted = False
        self.accepted_at = 0.0
        self.server_code: int | None = None
        self.broke_protocol = ""
        self.is_stuck = False  # nothing fits into its socket
        self.said: list[tuple[Any, ...]] = []
        self.owner = owner
        self._mid = 0

    def hand_over(self, owner: Owner) -> None:
        self.owner = owner

    def subscribe(
        self, filters: Sequence[tuple[str, int]], *, again: bool = False
    ) -> int:
        names = [name for name, _ in filters]
        self.said.append(("again" if again else "subscribe", *names))
        self._mid += 1
        return self._mid

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
            self.owner.link_closed(cast("Link", self))

    def close(self) -> None:
        self.said.append(("close",))
        self.is_closed = True


class Stage:
    """The host of one connection; plays the executor and the broker's answers."""

    def __init__(self, **but: Any) -> None:
        self.links: list[FakeLink] = []
        self.forgotten: list[FakeLink] = []
        self.snapshots: list[Snapshot] = []
        self.taken: list[Publish] = []
        self.paused = False
        self.is_gone = False
        self.room = True
        self.broker_is_up = True
        self.standing = Claim.HELD
        self.connection = BrokerConnection(self, a_spec(**but))

    # -- Host ------------------------------------------------------------------

    def open_link(
        self, spec: ConnectionSpec, owner: Owner, sink: Sink | None = None
    ) -> Link:
        self.links.append(FakeLink(spec, owner, sink))
        return cast("Link", self.links[-1])

    def take(self, link: Link, message: Publish) -> None:
        self.taken.append(message)

    def take_retained(self, link: Link, message: Publish) -> None:
        self.taken.append(message)

    def is_paused(self, link: Link) -> bool:
        return self.paused

    def probe(self, connection: BrokerConnection, told: Callable[[bool], None]) -> None:
        told(self.broker_is_up)

    def forget_link(self, link: Link) -> None:
        self.forgotten.append(cast("FakeLink", link))

    def gone(self, connection: BrokerConnection) -> None:
        self.is_gone = True

    def claim(self, shard: int) -> Claim:
        return self.standing

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
        link = self.link
        return link.owner.link_opened(cast("Link", link), error)

    def accepted(self, *, session_present: bool = False) -> None:
        link = self.link
        link.was_accepted = True
        link.accepted_at = time.monotonic()
        link.owner.link_accepted(cast("Link", link), session_present=session_present)

    def subscribed(self, *refused: str, mid: int = 1) -> None:
        link = self.link
        link.owner.link_subscribed(cast("Link", link), mid, list(refused))

    def refused(self, code: int = 0x86) -> None:
        self.link.owner.link_refused(cast("Link", self.link), code, "no")

    def closed(self, link: FakeLink | None = None) -> None:
        link = link or self.link
        link.is_closed = True
        link.owner.link_closed(cast("Link", link))

    def published(self, mid: int, link: FakeLink | None = None) -> None:
        link = link or self.link
        link.owner.link_published(cast("Link", link), mid, 0)

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
