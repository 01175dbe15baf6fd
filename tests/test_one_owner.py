"""Two workers on the same queues: whatever happens to one, the broker sees one of them.

The broker is a fake that notes every session. Both workers judge each other as of
another machine, so that only the lease decides, and leases live half as long.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from embedded import proc
from tests.fakebroker import SessionLog
from tests.proxy import Proxy
from tests.system import Process, System, until

pytestmark = pytest.mark.system

BOTH = "mqtt.shard.0,mqtt.shard.1"
BACK_OFF_S = 8.0  # the first one is at most 6.25 s


class Pair(System):
    """Each worker reaches PostgreSQL and Valkey through proxies of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, workers={"mqtt0": BOTH, "mqtt1": BOTH})
        self.databases: dict[str, Proxy] = {}
        self.redises: dict[str, Proxy] = {}

    def __exit__(self, *exc: object) -> None:
        proxies = [*self.databases.values(), *self.redises.values()]
        for proxy in proxies:
            proxy.heal()
        super().__exit__(*exc)
        for proxy in proxies:
            proxy.stop()

    def add_worker(self, name: str, queues: str = BOTH) -> Process:
        self.databases[name], database = _through(self.env["DATABASE_URL"])
        self.redises[name], redis = _through(self.env["REDIS_URL"])
        command = (
            f"{sys.executable} -m tests.sabotage short-leases,stranger worker "
            f"-P threads -c 4 -Q {queues} -n {name}@%h --without-gossip "
            "--without-mingle"
        )
        env = self.env | {"DATABASE_URL": database, "REDIS_URL": redis}
        process = Process(name, command, env, self.folder / f"{name}.log")
        self.processes[name] = process
        process.start()
        return process

    def owner_of(self, site: dict[str, Any]) -> str:
        """Return which of the two owns the site's shard, if any."""
        shard = site["id"] % 2
        rows = self.sql("SELECT owner FROM sites_shardlease WHERE shard = %s", shard)
        return str(rows[0][0]).partition("@")[0]

    def said(self, name: str, words: str) -> int:
        return self.processes[name].log.read_text(errors="replace").count(words)


def _through(url: str) -> tuple[Proxy, str]:
    parts = urlsplit(url)
    assert parts.port is not None
    proxy = Proxy(parts.port).start()
    place = parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}"
    return proxy, urlunsplit(parts._replace(netloc=place))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("pair")) as running:
        yield running


@pytest.fixture
def broker() -> Iterator[SessionLog]:
    with SessionLog() as running:
        yield running


@pytest.fixture
def site(pair: Pair, broker: SessionLog) -> Iterator[dict[str, Any]]:
    until(lambda: pair.sql(FREE) == [(0,)], "both shards are owned", 60)
    made = pair.make_site("Coveted", broker.port)
    pair.connect(made)
    yield made
    pair.stop_site(made)


FREE = "SELECT count(*) FROM sites_shardlease WHERE expires_at < clock_timestamp()"


def _stores(pair: Pair, broker: SessionLog, site: dict[str, Any], value: int) -> None:
    """The session that is there now is one that works."""
    topic = f"{site['code']}/datalogger/a/1/data"

    def is_stored() -> bool:
        return value in pair.values_of(site)

    broker.send(value, topic, b'{"values": {"n": %d}}' % value)
    until(is_stored, f"{value} is stored")


def test_after_a_kill_the_other_connects_and_nobody_else(
    pair: Pair, broker: SessionLog, site: dict[str, Any]
) -> None:
    owner = pair.owner_of(site)

    pair.processes[owner].kill()
    until(lambda: len(broker.sessions) == 2, "the takeover", 60)
    pair.processes[owner].start()

    assert pair.owner_of(site) != owner
    _stores(pair, broker, site, 1)
    assert len(broker.sessions) == 2
    assert len(broker.alive) == 1


def test_who_wakes_from_a_freeze_neither_connects_nor_acknowledges(
    pair: Pair, broker: SessionLog, site: dict[str, Any]
) -> None:
    owner = pair.owner_of(site)
    losses = pair.said(owner, "lease lost")
    process = pair.processes[owner].popen
    assert process is not None

    proc.freeze([process.pid])
    try:
        until(lambda: len(broker.sessions) == 2, "the takeover", 60)
    finally:
        process.send_signal(signal.SIGCONT)
    woke = time.monotonic()
    until(lambda: pair.said(owner, "lease lost") > losses, "it sees its loss")

    _stores(pair, broker, site, 1)
    time.sleep(BACK_OFF_S)
    old, new = broker.sessions
    assert (old.was_evicted, new.ended) == (True, None)
    assert not [mid for at, mid in old.pubacks if at > woke]
    assert process.poll() is None


def test_who_is_cut_off_from_postgresql_is_evicted_and_stays_away(
    pair: Pair, broker: SessionLog, site: dict[str, Any]
) -> None:
    """Its link is kept until the new owner takes the session; then it asks first."""
    owner = pair.owner_of(site)
    losses = pair.said(owner, "lease lost")
    held = pair.said(owner, "the lease is not confirmed")

    pair.databases[owner].go_silent()
    try:
        until(lambda: len(broker.sessions) == 2, "the takeover", 60)
        until(
            lambda: pair.said(owner, "the lease is not confirmed") > held,
            "it would like to come back",
        )
        _stores(pair, broker, site, 1)
        time.sleep(3)  # it asks itself every second
        assert len(broker.sessions) == 2
    finally:
        pair.databases[owner].heal()
    until(lambda: pair.said(owner, "lease lost") > losses, "it sees its loss", 60)

    time.sleep(2)  # it would connect at once, if it did
    old, new = broker.sessions
    assert (old.was_evicted, new.ended) == (True, None)
    assert pair.status(site)["status"] == "connected"


def test_who_is_cut_off_from_redis_keeps_its_sites_and_stores(
    pair: Pair, broker: SessionLog, site: dict[str, Any]
) -> None:
    owner = pair.owner_of(site)

    pair.redises[owner].go_silent()
    try:
        _stores(pair, broker, site, 1)
        time.sleep(10)  # longer than a lease lives here
        _stores(pair, broker, site, 2)
        assert pair.owner_of(site) == owner
    finally:
        pair.redises[owner].heal()

    # Commands arrive again, and are obeyed on the link that was there all the time.
    def arrives() -> int:
        """Ask again: a command that is not taken within 3 s expires here."""
        pair.call("POST", f"mqtt/sites/{site['id']}/resubscribe/")
        return pair.said(owner, "resubscribe site_id")

    until(arrives, "the command arrives", 90, every_s=1)
    assert len(broker.sessions) == 1
    assert pair.status(site)["status"] == "connected"
