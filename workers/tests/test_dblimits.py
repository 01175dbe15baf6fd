"""No wait for the database is endless, whatever the server does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from django.db import connection
from psycopg2 import extensions

from workers import dblimits
from workers.dblimits import Limit, limited


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    before = extensions.get_wait_callback()
    dblimits.install()
    yield
    extensions.set_wait_callback(before)


@pytest.fixture
def link(db: None) -> Iterator[extensions.connection]:
    made = psycopg2.connect(**connection.get_connection_params())
    yield made
    made.close()


def ask(link: extensions.connection, statement: str) -> object:
    with link.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
    return row[0] if row else None


def test_an_answer_in_time_is_an_answer(link):
    with limited(10):
        assert ask(link, "SELECT 7") == 7


def test_a_statement_that_takes_too_long_ends_its_connection(link):
    began = time.monotonic()

    with limited(0.3), pytest.raises(psycopg2.OperationalError, match="in time"):
        ask(link, "SELECT pg_sleep(30)")

    assert time.monotonic() - began < 10
    assert link.closed


def ask_often(link: extensions.connection) -> None:
    for _ in range(100):
        ask(link, "SELECT pg_sleep(0.1)")


def test_the_limit_is_for_all_statements_together(link):
    with limited(0.5), pytest.raises(psycopg2.OperationalError):
        ask_often(link)


def test_of_nested_limits_the_first_that_ends_counts(link):
    with limited(0.3), limited(60), pytest.raises(psycopg2.OperationalError):
        ask(link, "SELECT pg_sleep(30)")


def test_a_limit_ends_with_its_block(link):
    with limited(0.0):
        pass

    assert ask(link, "SELECT 1") == 1


def test_what_has_arrived_counts_however_late_we_look(link, monkeypatch):
    """We were frozen ourselves, or the machine was busy."""

    real = dblimits._wait_ready

    def frozen(*arguments: Any) -> None:
        time.sleep(1.0)  # the answer comes meanwhile, and the limit passes
        real(*arguments)

    monkeypatch.setattr(dblimits, "_wait_ready", frozen)

    with limited(0.5):
        assert ask(link, "SELECT 5 FROM pg_sleep(0.1)") == 5


def test_another_thread_may_shorten_a_limit_that_is_waited_for(link):
    limit = Limit(60)
    timer = threading.Timer(0.2, limit.shorten, [0.1])
    timer.start()
    began = time.monotonic()

    with limited(limit), pytest.raises(psycopg2.OperationalError):
        ask(link, "SELECT pg_sleep(30)")

    assert time.monotonic() - began < 10
    timer.join()


def test_a_server_that_takes_the_connection_and_says_nothing(db):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        params = {**connection.get_connection_params(), "port": port}
        params.pop("host", None)

        with limited(0.3), pytest.raises(psycopg2.OperationalError, match="in time"):
            psycopg2.connect(host="127.0.0.1", **params)


def test_a_large_statement_and_a_large_answer_pass_whole(link):
    text = "x" * 3_000_000
    with limited(60), link.cursor() as cursor:
        cursor.execute("SELECT %s", [text])
        assert cursor.fetchone() == (text,)


def test_another_threads_limit_is_not_ours(link):
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with limited(0.0):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)

    assert ask(link, "SELECT pg_sleep(0.01), 5") is not None
    leave.set()
    thread.join()
