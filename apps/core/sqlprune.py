"""Deletes old rows a slice at a time, so that no statement holds many rows for long."""

from __future__ import annotations

from django.db import connection

SLICE = 5_000


def count(table: str, condition: str, parameters: list[int]) -> int:
    """Return how many rows meet the condition; both are the caller's own constants."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {table} WHERE {condition}",  # noqa: S608 (constants)
            parameters,
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def delete(table: str, condition: str, parameters: list[int]) -> int:
    """Delete the rows that meet the condition; return how many."""
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608 (constants)
                f"SELECT ctid FROM {table} WHERE {condition} LIMIT {SLICE}))",
                parameters,
            )
            deleted = int(cursor.rowcount)
        total += deleted
        if deleted < SLICE:
            return total
