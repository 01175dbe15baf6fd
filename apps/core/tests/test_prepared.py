"""Statements that each session prepares once, on the real database."""

from __future__ import annotations

import pytest
from django.db import ProgrammingError, connection, transaction

from apps.core.prepared import Prepared


def run(statement: Prepared, *values: object) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        statement.execute(cursor, values)
        return list(cursor.fetchall())


def test_values_arrive_as_they_would_unprepared(db: None) -> None:
    statement = Prepared(
        "test_values", "SELECT %s::bigint[], %s::text, %s::bytea, %s::float8[]"
    )

    for _ in range(2):
        row = run(statement, [None, 2**40], "50% 'of' it", b"\0\xff", "{1.5,NULL}")[0]
        assert row[:2] == ([None, 2**40], "50% 'of' it")
        assert bytes(row[2]) == b"\0\xff"  # type: ignore[call-overload]
        assert row[3] == [1.5, None]
    assert run(statement, [], None, None, None) == [([], None, None, None)]


@pytest.mark.django_db(transaction=True)
def test_a_new_session_prepares_it_anew() -> None:
    statement = Prepared("test_session", "SELECT %s::int")

    assert run(statement, 1) == [(1,)]
    connection.close()
    assert run(statement, 2) == [(2,)]


@pytest.mark.django_db(transaction=True)
def test_it_outlives_the_transaction_that_failed() -> None:
    statement = Prepared("test_rollback", "SELECT 1 / %s::int")

    with pytest.raises(Exception, match="division by zero"), transaction.atomic():
        run(statement, 0)
    assert run(statement, 1) == [(1,)]


@pytest.mark.django_db(transaction=True)
def test_one_that_cannot_be_prepared_is_tried_again() -> None:
    statement = Prepared("test_missing", "SELECT id FROM test_not_there")

    for _ in range(2):
        with pytest.raises(ProgrammingError, match="test_not_there"):
            run(statement)


def test_a_parameter_needs_its_type() -> None:
    with pytest.raises(ValueError, match="without its type in test_typeless"):
        Prepared("test_typeless", "SELECT %s")
