"""What PostgreSQL's planner may choose one day, chosen now."""

from __future__ import annotations

from django.db import connection


def join_by_nested_loops() -> None:
    """Have a sub-select read anew for each row, until this transaction's end.

    The planner does so by itself when its statistics say that a table has hardly any
    rows, as they do shortly after it has been emptied.
    """
    with connection.cursor() as cursor:
        for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        for way in ("indexscan", "indexonlyscan", "bitmapscan"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
