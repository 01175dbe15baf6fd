"""No session may hold what others wait for, whatever becomes of its owner."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connection

from apps.sites.leases import LEASE_TTL_S


@pytest.mark.django_db
def test_postgresql_ends_what_takes_too_long_or_is_forgotten():
    limits = {}
    with connection.cursor() as cursor:
        for name in (
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
        ):
            cursor.execute(
                "SELECT setting::int FROM pg_settings WHERE name = %s", [name]
            )
            limits[name] = cursor.fetchone()[0] / 1_000

    assert limits["lock_timeout"] < limits["statement_timeout"]
    # A dead owner's transaction holds its lease's row no longer than about the lease.
    assert limits["idle_in_transaction_session_timeout"] <= LEASE_TTL_S + 5


def test_a_server_that_is_gone_without_a_word_is_noticed():
    options = settings.DATABASES["default"]["OPTIONS"]

    assert options["connect_timeout"] <= 5
    silent_s = (
        options["keepalives_idle"]
        + options["keepalives_interval"] * options["keepalives_count"]
    )
    assert silent_s <= 30
    assert options["tcp_user_timeout"] <= 30_000
