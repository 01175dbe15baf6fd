"""PostgreSQL goes away under load: messages are acknowledged from disk, stored once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from kombu import Connection

from apps.core.shards import queue_name, shard_of
from embedded.broker import Broker
from embedded.postgres import Postgres
from project.celery import app
from tests.mqtt import Peer
from tests.system import System, until

pytestmark = pytest.mark.system

AWAY_S = 7.0
EVERY_S = 0.02


class Stage:
    """A system on a PostgreSQL of its own, and one site."""

    def __init__(self, system: System, postgres: Postgres, broker: Broker) -> None:
        self.system, self.postgres, self.broker = system, postgres, broker
        self.site: dict[str, Any] = {}
        self.n = 0

    def publish(self, peer: Peer, seconds: float) -> None:
        end = time.monotonic() + seconds
        topic = f"{self.site['code']}/datalogger/a/1/data"
        while time.monotonic() < end:
            peer.publish(topic, {"values": {"n": self.n}}, tag=self.n)
            self.n += 1
            time.sleep(EVERY_S)

    @property
    def spooled(self) -> int:
        return sum(count(path) for path in spools(self.system))

    def on_server(self, statement: str) -> None:
        with closing(psycopg2.connect(self.system.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                cursor.execute("SELECT pg_reload_conf()")


def spools(system: System) -> list[Path]:
    return list((system.folder / "spool").glob("*/*/*.sqlite3"))


def count(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM message").fetchone()[0])
    except sqlite3.OperationalError:  # a worker is just making it
        return 0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("outage")
    folder.chmod(0o755)
    with (
        pytest.MonkeyPatch.context() as patch,
        Postgres(folder / "pg") as postgres,
        Broker(folder / "broker") as broker,
    ):
        patch.setenv("DATABASE_URL", postgres.url)
        with System(
            folder,
            workers={"mqtt0": "mqtt.shard.0,mqtt.shard.1"},
            MQTT_SHUTDOWN_TIMEOUT="20",  # a writer gets 0.6 of it, and needs 2 s
        ) as system:
            yield Stage(system, postgres, broker)
    postgres.remove_data()


@pytest.fixture
def site(stage: Stage, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    stage.site = stage.system.make_site(request.node.name[:60], stage.broker.port)
    stage.n = 0
    stage.system.connect(stage.site)
    yield stage.site
    worker = stage.system.processes["mqtt0"]
    if not worker.is_running:  # a test that failed in between left it so
        worker.start()


@contextmanager
def stopped(stage: Stage) -> Iterator[None]:
    stage.postgres.stop()
    try:
        yield
    finally:
        stage.postgres.start(60)


@contextmanager
def frozen(stage: Stage) -> Iterator[None]:
    stage.postgres.freeze()
    try:
        yield
    finally:
        stage.postgres.thaw()


@contextmanager
def read_only(stage: Stage) -> Iterator[None]:
    stage.on_server("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        yield
    finally:
        stage.on_server("ALTER SYSTEM RESET default_transaction_read_only")


@contextmanager
def disk_full(stage: Stage) -> Iterator[None]:
    """What PostgreSQL says then, said by a trigger: it answers, and stores nothing."""
    stage.on_server(
        "CREATE FUNCTION refuse_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$; "
        "CREATE TRIGGER refuse_all BEFORE INSERT ON telemetry_reading "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_all()"
    )
    try:
        yield
    finally:
        stage.on_server("DROP FUNCTION refuse_all CASCADE")


@pytest.mark.parametrize("away", [stopped, frozen, read_only, disk_full])
def test_nothing_is_lost_doubled_or_held_up(
    stage: Stage, site: dict[str, Any], away: Callable[[Stage], Any]
) -> None:
    with Peer(stage.broker.port) as peer:
        stage.publish(peer, 1)
        with away(stage):
            stage.publish(peer, AWAY_S)
            until(lambda: len(peer.acked) == stage.n, "the broker took all", 60)
            until(lambda: stage.spooled > 0, "they are on disk", 60)
        stage.publish(peer, 2)
        until(lambda: len(peer.acked) == stage.n, "the broker took all", 60)
    until(lambda: stage.spooled == 0, "the disk is empty again", 60)

    until(lambda: len(stage.system.values_of(site)) >= stage.n, "all are stored", 60)
    assert stage.system.values_of(site) == list(range(stage.n))
    books = stage.system.stats_of(site)
    assert books["stored"] == stage.n
    assert books["received"] == stage.n + books["duplicate"]


@pytest.mark.parametrize("away", [stopped, frozen])
def test_told_to_end_meanwhile_a_worker_leaves_a_clean_file_to_the_next(
    stage: Stage, site: dict[str, Any], away: Callable[[Stage], Any]
) -> None:
    worker = stage.system.processes["mqtt0"]
    with Peer(stage.broker.port) as peer:
        stage.publish(peer, 1)
        with away(stage):
            order(stage, site)
            stage.publish(peer, 1)
            took_s = worker.terminate(120)
            until(lambda: len(peer.acked) == stage.n, "the broker took all", 60)
            files = [
                name
                for path in spools(stage.system)
                for name in path.parent.glob(f"{path.name}-*")
            ]
            spooled = stage.spooled

    assert took_s < 60  # 2 s on a quiet machine, 10 for the one frozen
    assert files == []  # no log is left over
    assert spooled > 0
    assert f"spooled={spooled}" in worker.log.read_text()

    worker.start()
    until(lambda: len(stage.system.values_of(site)) >= stage.n, "all are stored", 60)
    assert stage.system.values_of(site) == list(range(stage.n))
    until(lambda: stage.spooled == 0, "the disk is empty again", 60)


def order(stage: Stage, site: dict[str, Any]) -> None:
    """Have a thread of the worker's pool ask the database."""
    queue = queue_name(shard_of(site["id"], 2))
    with Connection(stage.system.valkey.url) as connection:
        app.send_task(
            "workers.tasks.ensure", [site["id"]], queue=queue, connection=connection
        )


def test_a_worker_that_is_killed_meanwhile_loses_and_doubles_nothing(
    stage: Stage, site: dict[str, Any]
) -> None:
    worker = stage.system.processes["mqtt0"]
    with Peer(stage.broker.port) as peer:
        stage.postgres.stop()
        stage.publish(peer, 5)
        until(lambda: stage.spooled > 0, "they are on disk", 60)
        worker.kill()
        stage.publish(peer, 1)
        stage.postgres.start(60)
        worker.start()
        stage.publish(peer, 2)
        until(lambda: len(peer.acked) == stage.n, "the broker took all", 60)

    until(lambda: len(stage.system.values_of(site)) >= stage.n, "all are stored", 60)
    until(lambda: stage.spooled == 0, "the disk is empty again", 60)
    time.sleep(1)  # what comes twice comes late
    assert stage.system.values_of(site) == list(range(stage.n))
