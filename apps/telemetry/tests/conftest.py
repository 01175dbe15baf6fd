"""No reading outlives its test.

Django empties the tables it manages after a test that commits; the readings' table is
made in plain SQL and not one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

TABLES = (
    "telemetry_reading",
    "telemetry_rollup_1m",
    "telemetry_rollup_1h",
    "telemetry_rollup_1d",
    "telemetry_rollup_due",
    "telemetry_rollup_zone",
)
DB_FIXTURES = {"db", "transactional_db"}


@pytest.fixture(autouse=True)
def _no_readings(request: pytest.FixtureRequest) -> Iterator[None]:
    uses_db = DB_FIXTURES & {*request.fixturenames}
    if not (uses_db or request.node.get_closest_marker("django_db")):
        yield
        return
    marker = request.node.get_closest_marker("django_db")
    commits = bool(marker and marker.kwargs.get("transaction"))
    request.getfixturevalue("transactional_db" if commits else "db")
    _empty()
    yield
    if commits:
        _empty()


def _empty() -> None:
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")
