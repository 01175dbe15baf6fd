"""Each server: start, stop, kill, freeze, restart, with its data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from embedded.postgres import Postgres
from embedded.server import ServerError
from embedded.tests.conftest import wait_for
from embedded.valkey import Valkey


@pytest.fixture(scope="module")
def one_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("with space"), fsync=False)
    yield server
    server.stop()
    server.remove_data()


@pytest.fixture
def postgres(one_postgres: Postgres) -> Postgres:
    """One for all tests, since a new one costs a second; running at their start."""
    one_postgres.start(timeout_s=120)
    return one_postgres


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "with space")
    yield server
    server.stop()


def answer_of(server: Valkey, command: str) -> str:
    answer = server._ask(f"AUTH {server.password}\r\n{command}\r\n")
    return answer.removeprefix("+OK\r\n")


@contextmanager
def cursor(server: Postgres):
    with closing(psycopg2.connect(server.url)) as connection:
        connection.autocommit = True
        yield connection.cursor()


def test_postgres_keeps_port_and_data_over_restart_and_kill(postgres: Postgres):
    port = postgres.port
    with cursor(postgres) as sql:
        sql.execute("CREATE TABLE t AS SELECT 7 AS seven")

    postgres.restart()
    postgres.kill()
    assert not postgres.is_running
    postgres.start(timeout_s=60)

    with cursor(postgres) as sql:
        sql.execute("SELECT seven, upper('è') FROM t")
        assert sql.fetchone() == (7, "È")
    assert postgres.port == port


def test_postgres_wants_its_password(postgres: Postgres):
    with pytest.raises(psycopg2.OperationalError, match="password authentication"):
        psycopg2.connect(postgres.url, password="wrong")


def test_postgres_data_made_with_another_password_is_named(postgres: Postgres):
    postgres.stop()
    other = Postgres(postgres.state_dir, password="another", port=postgres.port)

    with pytest.raises(ServerError, match="made with another password"):
        other.start(timeout_s=60)

    assert not other.is_running


def test_postgres_starts_where_a_foreign_process_has_the_old_pid(postgres: Postgres):
    postgres.stop()
    (postgres.data / "postmaster.pid").write_text(f"{os.getppid()}\n{postgres.data}\n")

    postgres.start(timeout_s=60)

    wait_for(postgres.is_ready)


def test_postgres_ends_a_forgotten_twin_on_its_own_data(postgres: Postgres):
    heir = Postgres(postgres.state_dir, fsync=False)

    with heir:
        wait_for(heir.is_ready)
        assert not postgres.is_running


def test_a_frozen_postgres_does_not_answer(postgres: Postgres):
    postgres.freeze()
    assert postgres.is_running
    assert not postgres.is_ready()

    postgres.thaw()
    wait_for(postgres.is_ready)


def test_valkey_keeps_its_data_over_a_graceful_restart(valkey: Valkey):
    valkey.start()
    port = valkey.port
    wait_for(lambda: answer_of(valkey, "SET a 1") == "+OK\r\n")

    valkey.restart()

    wait_for(lambda: answer_of(valkey, "EXISTS a") == ":1\r\n")
    assert valkey.port == port


def test_valkey_wants_its_password(valkey: Valkey):
    valkey.start()

    wait_for(lambda: valkey._ask("PING\r\n").startswith("-NOAUTH"))


def test_valkey_comes_back_after_a_kill(valkey: Valkey):
    valkey.start()

    valkey.kill()
    assert not valkey.is_running
    valkey.start()

    wait_for(valkey.is_ready)


def test_a_frozen_valkey_can_be_stopped(valkey: Valkey):
    valkey.start()

    valkey.freeze()
    assert not valkey.is_ready()
    valkey.stop()

    assert not valkey.is_running


def test_two_servers_on_one_port_are_refused(valkey: Valkey, tmp_path: Path):
    valkey.start()
    other = Valkey(tmp_path / "other", port=valkey.port)

    with pytest.raises(ServerError):
        other.start(timeout_s=3)

    assert not other.is_running
    wait_for(valkey.is_ready)
