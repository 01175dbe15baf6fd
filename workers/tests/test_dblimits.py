"""No wait for the database is endless, whatever the server does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, connections, transaction
from django.db.utils import OperationalError

from workers import dblimits
from workers.dblimits import Cutter, Limit, limited

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _sessions() -> Iterator[None]:
    """Sessions that can be ended."""
    options = connections.settings["default"]["OPTIONS"]
    dblimits.install()
    connection.close()  # it is no such session
    yield
    connection.close()
    del options["connection_factory"]


@pytest.fixture
def cutter() -> Iterator[Cutter]:
    """One that looks all the time."""
    made, over = Cutter(), threading.Event()

    def look() -> None:
        while not over.wait(dblimits.LOOK_EVERY_S):
            made.look()

    thread = threading.Thread(target=look)
    thread.start()
    yield made
    over.set()
    thread.join(10)


def ask(statement: str, parameters: tuple[str, ...] = ()) -> object:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    return row[0] if row else None


def took(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_an_answer_in_time_is_an_answer():
    with limited(10):
        assert ask("SELECT 7") == 7


def test_a_statement_that_takes_too_long_ends_its_connection(cutter):
    def exceed() -> None:
        with pytest.raises(OperationalError, match="in time"), limited(0.3):
            ask("SELECT pg_sleep(30)")

    assert took(exceed) < 10
    assert connection.connection is None


def test_who_is_told_at_once_learns_why(cutter, monkeypatch):
    """The kernel may run the one that waits before whoever ended it goes on."""
    end = dblimits.Session.end

    def slowly(session: dblimits.Session) -> None:
        end(session)
        time.sleep(0.5)

    monkeypatch.setattr(dblimits.Session, "end", slowly)

    with pytest.raises(OperationalError, match="in time"), limited(0.1):
        ask("SELECT pg_sleep(30)")


def test_the_next_question_has_a_connection_of_its_own(cutter):
    with pytest.raises(OperationalError), limited(0.1):
        ask("SELECT pg_sleep(30)")

    with limited(10):
        assert ask("SELECT 7") == 7


def test_a_commit_that_is_not_answered_ends_like_a_statement(cutter):
    """A trigger that runs at the commit makes it take long."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE slow (id int)")
        cursor.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_sleep(30); RETURN NULL; END'"
        )
        cursor.execute(
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()"
        )

    def insert() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO slow VALUES (1)")

    def commit() -> None:
        with pytest.raises(OperationalError, match="in time"), limited(0.3):
            insert()

    try:
        assert took(commit) < 10
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            cursor.execute("DROP TABLE slow; DROP FUNCTION slow")


def ask_often() -> None:
    for _ in range(100):
        ask("SELECT pg_sleep(0.1)")


def test_the_limit_is_for_all_statements_together(cutter):
    with pytest.raises(OperationalError), limited(0.5):
        ask_often()


def test_who_tries_again_under_the_same_limit_is_refused(cutter):
    def ask_twice() -> None:
        try:
            ask("SELECT pg_sleep(30)")
        except OperationalError:
            connection.close()
        ask("SELECT 1")

    with pytest.raises(OperationalError, match="in time"), limited(0.2):
        ask_twice()


def test_a_transaction_that_was_ended_does_not_wait_for_a_connection(
    cutter, monkeypatch
):
    """Django makes a new one after a failed rollback: 5 s with a frozen server."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        port = str(frozen.getsockname()[1])

        def exceed() -> None:
            with limited(0.2), transaction.atomic():
                monkeypatch.setitem(connection.settings_dict, "PORT", port)
                ask("SELECT pg_sleep(30)")

        with pytest.raises(OperationalError, match="in time"):
            exceed()
        frozen.setblocking(False)
        with pytest.raises(BlockingIOError):
            frozen.accept()


@pytest.mark.parametrize("seconds", [(0.3, 60.0), (60.0, 0.3)])
def test_of_nested_limits_the_first_that_ends_counts(cutter, seconds):
    outer, inner = seconds

    def exceed() -> None:
        with pytest.raises(OperationalError), limited(outer), limited(inner):
            ask("SELECT pg_sleep(30)")

    assert took(exceed) < 10


def test_a_limit_ends_with_its_block():
    cutter = Cutter()
    ask("SELECT 1")
    session = connection.connection
    with limited(0.0):
        pass

    for _ in range(3):
        cutter.look()

    assert ask("SELECT 1") == 1
    assert connection.connection is session


def test_who_exceeded_a_limit_and_asked_nothing_more_has_a_connection():
    cutter = Cutter()
    with limited(0.0):
        ask("SELECT 1")
        for _ in range(3):
            cutter.look()

    assert ask("SELECT 2") == 2


def test_what_has_arrived_counts_however_late_we_look():
    """We were frozen ourselves, or the machine was busy: the limit passed meanwhile."""
    look = threading.Timer(0.1, Cutter().look)
    look.start()

    with limited(0.0):
        assert ask("SELECT 5 FROM pg_sleep(0.2)") == 5

    look.join()


def test_another_thread_may_shorten_a_limit_that_is_waited_for(cutter):
    limit = Limit(60)
    timer = threading.Timer(0.2, limit.shorten, [0.1])
    timer.start()

    def exceed() -> None:
        with pytest.raises(OperationalError), limited(limit):
            ask("SELECT pg_sleep(30)")

    assert took(exceed) < 10
    timer.join()


def test_when_the_process_ends_nobody_waits_for_a_limit(cutter):
    timer = threading.Timer(0.2, cutter.hurry)
    timer.start()

    def exceed() -> None:
        with pytest.raises(OperationalError), limited(60):
            ask("SELECT pg_sleep(30)")

    assert took(exceed) < 10
    timer.join()


def test_a_server_that_takes_the_connection_and_says_nothing(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        monkeypatch.setitem(connection.settings_dict, "PORT", port)

        def connect() -> None:
            with pytest.raises(OperationalError, match="timeout"):
                ask("SELECT 1")

        assert took(connect) < 30  # `connect_timeout` is 5 s


def test_a_large_statement_and_a_large_answer_pass_whole():
    text = "x" * 3_000_000
    with limited(60):
        assert ask("SELECT %s", (text,)) == text


def test_another_threads_limit_is_not_ours(cutter):
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with limited(0.0):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)

    assert ask("SELECT pg_sleep(1)") is not None
    leave.set()
    thread.join()


def test_a_session_keeps_no_descriptor_open():
    """Its second one would keep the server's end alive."""
    ask("SELECT 1")
    session = connection.connection
    connection.close()

    assert session._socket.fileno() == -1
    session.end()  # and late words harm nobody
