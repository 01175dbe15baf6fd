"""Uptime: the known time of a window, and the outages in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apps.core.tests.clients import client_of, is_error
from apps.devices import uptime
from apps.devices.models import Datalogger, PresencePeriod
from apps.devices.services import KEEP_PERIODS, prune_periods
from apps.devices.uptime import Uptime, Window, window
from apps.sites.models import Site

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@pytest.fixture
def row(north) -> Datalogger:
    return Datalogger.objects.create(site=north, type="monstro", number="15")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The moment at which the API is asked."""
    monkeypatch.setattr("apps.devices.api.timezone.now", lambda: NOW)
    return NOW


def spell(
    row: Datalogger,
    presence: str,
    start: timedelta,
    end: timedelta | None = None,
    cause: str = "",
) -> PresencePeriod:
    """Store a period between two times before NOW; without an end it is open."""
    return PresencePeriod.objects.create(
        datalogger=row,
        presence=presence,
        cause=cause,
        started_at=NOW - start,
        ended_at=None if end is None else NOW - end,
    )


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def days(count: float) -> timedelta:
    return timedelta(days=count)


def asked(user, row: Datalogger, query: str = "", status: int = 200) -> dict:
    answer = client_of(user).get(f"/api/v1/mqtt/dataloggers/{row.pk}/uptime/?{query}")
    assert answer.status_code == status, answer.content
    return dict(answer.json())


# -- windows -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "length"), [("24h", days(1)), ("7d", days(7)), ("30d", days(30))]
)
def test_a_rolling_window_ends_now(name, length):
    found = window(name, now=NOW, zone="Europe/Rome")

    assert found == Window(name, NOW - length, NOW)


@pytest.mark.parametrize(
    ("month", "zone", "since", "until"),
    [
        (None, "UTC", "2026-11-01T00:00Z", "2026-11-21T10:00Z"),
        (None, "Europe/Rome", "2026-10-31T23:00Z", "2026-11-21T10:00Z"),
        ((2026, 10), "Europe/Rome", "2026-09-30T22:00Z", "2026-10-31T23:00Z"),
        ((2026, 3), "Europe/Rome", "2026-02-28T23:00Z", "2026-03-31T22:00Z"),
        ((2025, 12), "UTC", "2025-12-01T00:00Z", "2026-01-01T00:00Z"),
        ((2026, 11), "Pacific/Kiritimati", "2026-10-31T10:00Z", "2026-11-21T10:00Z"),
        ((2027, 1), "UTC", "2027-01-01T00:00Z", "2027-01-01T00:00Z"),
    ],
)
def test_a_month_begins_and_ends_where_the_site_is(month, zone, since, until):
    found = window("month", now=NOW, zone=zone, month=month)

    assert found.since == datetime.fromisoformat(since)
    assert found.until == datetime.fromisoformat(until)


def test_the_current_month_is_the_sites():
    at = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)

    assert window("month", now=at, zone="UTC").since.day == 1
    there = window("month", now=at, zone="Europe/Rome")
    assert there.since == datetime(2026, 11, 30, 23, 0, tzinfo=UTC)


# -- counting ------------------------------------------------------------------


def test_the_three_times_are_the_whole_window(north, row):
    spell(row, "online", days(40), days(20))
    spell(row, "offline", days(20), days(19))
    spell(row, "unknown", days(19), days(18))
    spell(row, "online", days(18), hours(1))
    spell(row, "offline", hours(1))
    names = ("24h", "7d", "30d")

    found = uptime.uptimes(
        [row.pk], [window(name, now=NOW, zone="UTC") for name in names]
    )[row.pk]

    assert [each.offline_s for each in found] == [3_600, 3_600, 90_000]
    assert [each.unknown_s for each in found] == [0, 0, 86_400]
    assert [each.percentage for each in found] == [95.83, 99.4, 96.41]
    for each, length in zip(found, (1, 7, 30), strict=True):
        assert each.online_s + each.offline_s + each.unknown_s == length * 86_400


def test_a_device_nobody_knew_yet_was_unknown(north, row):
    spell(row, "online", hours(6))

    [found] = uptime.uptimes([row.pk], [window("24h", now=NOW, zone="UTC")])[row.pk]

    assert found == Uptime(6 * 3_600, 0, 18 * 3_600)
    assert found.percentage == 100.0


@pytest.mark.parametrize("since", [NOW, NOW + days(30)])
def test_an_empty_window_knows_nothing(north, row, since):
    spell(row, "online", days(40))

    [found] = uptime.uptimes([row.pk], [Window("month", since, since)])[row.pk]

    assert found == Uptime(0, 0, 0)
    assert found.percentage is None


def test_dataloggers_and_windows_do_not_mix(north, row):
    other = Datalogger.objects.create(site=north, type="monstro", number="16")
    spell(row, "online", days(2))
    spell(other, "offline", days(2))
    windows = [window(name, now=NOW, zone="UTC") for name in ("7d", "24h")]

    found = uptime.uptimes([other.pk, row.pk], windows)

    assert [each.percentage for each in found[row.pk]] == [100.0, 100.0]
    assert [each.percentage for each in found[other.pk]] == [0.0, 0.0]
    assert [each.offline_s for each in found[other.pk]] == [2 * 86_400, 86_400]


# -- the API -------------------------------------------------------------------


def test_it_tells_the_outages_newest_first(viewer, row, now):
    spell(row, "online", days(3), hours(26))
    spell(row, "offline", hours(26), hours(23), "silence")
    spell(row, "online", hours(23), hours(5))
    spell(row, "offline", hours(5), hours(4.5), "gateway")
    spell(row, "unknown", hours(4.5), hours(4))
    spell(row, "online", hours(4), hours(1))
    spell(row, "offline", hours(1), hours(1), "will")  # came and went at once
    spell(row, "offline", hours(1), None, "will")

    body = asked(viewer, row)

    assert body == {
        "datalogger_id": row.pk,
        "window": "24h",
        "from": "2026-11-20T10:00:00Z",
        "to": "2026-11-21T10:00:00Z",
        "uptime_percentage": 89.36,
        "online_s": 21 * 3_600,
        "offline_s": 2.5 * 3_600,
        "unknown_s": 1_800,
        "outages": [
            {
                "started_at": "2026-11-21T09:00:00Z",
                "ended_at": None,
                "duration_s": 3_600,
                "cause": "will",
            },
            {
                "started_at": "2026-11-21T05:00:00Z",
                "ended_at": "2026-11-21T05:30:00Z",
                "duration_s": 1_800,
                "cause": "gateway",
            },
            {
                "started_at": "2026-11-20T08:00:00Z",
                "ended_at": "2026-11-20T11:00:00Z",
                "duration_s": 10_800,
                "cause": "silence",
            },
        ],
        "outages_count": 3,
    }


def test_any_month_can_be_asked_for(viewer, row, now):
    Site.objects.filter(pk=row.site_id).update(timezone="Europe/Rome")
    october = datetime(2026, 10, 1, tzinfo=UTC)
    for presence, start, end in (
        ("online", october, october + days(20)),
        ("offline", october + days(20), october + days(22)),
        ("online", october + days(22), None),
    ):
        PresencePeriod.objects.create(
            datalogger=row, presence=presence, started_at=start, ended_at=end
        )

    october_body = asked(viewer, row, "month=2026-10")
    november = asked(viewer, row, "window=month")
    future = asked(viewer, row, "window=month&month=2027-02")

    assert october_body["window"] == "month"
    assert october_body["from"] == "2026-09-30T22:00:00Z"
    assert october_body["to"] == "2026-10-31T23:00:00Z"
    assert october_body["offline_s"] == 2 * 86_400
    assert october_body["unknown_s"] == 2 * 3_600
    assert october_body["outages_count"] == 1
    assert november["from"] == "2026-10-31T23:00:00Z"
    assert (november["uptime_percentage"], november["outages"]) == (100.0, [])
    assert future["uptime_percentage"] is None
    assert future["from"] == future["to"] == "2027-01-31T23:00:00Z"


def test_outages_come_in_pages(viewer, row, now):
    for n in range(120):
        spell(row, "offline", hours(n / 10 + 0.05), hours(n / 10), "silence")

    first, last = asked(viewer, row), asked(viewer, row, "limit=50&offset=100")

    assert (len(first["outages"]), first["outages_count"]) == (100, 120)
    assert (len(last["outages"]), last["outages_count"]) == (20, 120)
    assert last["outages"][-1]["started_at"] < first["outages"][0]["started_at"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("window=1h", "window"),
        ("window=24h&month=2026-11", "month"),
        ("month=2026-13", "month"),
        ("month=1999-12", "month"),
        ("month=2026-11-01", "month"),
        ("month=%D9%A2026-11", "month"),
        ("month=2026-1%00", "month"),
        ("limit=0", "limit"),
        ("offset=-1", "offset"),
    ],
)
def test_it_names_a_wrong_parameter(viewer, row, query, field):
    body = asked(viewer, row, query, 400)

    assert is_error(body)
    assert list(body["fields"]) == [field]


def test_the_questions_do_not_grow(viewer, row, django_assert_num_queries):
    client = client_of(viewer)
    for count in (1, 30):
        for n in range(count):
            spell(row, "offline", hours(n + count + 1), hours(n + count))
        with django_assert_num_queries(5):  # user, datalogger, seconds, outages, count
            client.get(f"/api/v1/mqtt/dataloggers/{row.pk}/uptime/?window=30d")
        with django_assert_num_queries(5):  # user, datalogger, sensors, 24 h, windows
            client.get(f"/api/v1/mqtt/dataloggers/{row.pk}/")


# -- keeping -------------------------------------------------------------------


def test_what_ended_too_long_ago_is_forgotten(row):
    keep = KEEP_PERIODS
    spell(row, "online", keep + days(9), keep + days(5))
    kept = spell(row, "offline", keep + days(5), keep - days(1))
    opened = spell(row, "online", keep - days(1))

    assert prune_periods(NOW) == 1
    assert prune_periods(NOW) == 0

    assert list(row.periods.order_by("id")) == [kept, opened]


def test_an_open_period_is_kept_however_old(row):
    spell(row, "online", KEEP_PERIODS + days(100))

    assert prune_periods(NOW) == 0


def test_a_year_of_periods_is_not_read_for_the_last_day(north):
    """Of 40 dataloggers with 500 periods each, only what reaches into the window."""
    rows = Datalogger.objects.bulk_create(
        Datalogger(site=north, type="t", number=str(n)) for n in range(40)
    )
    PresencePeriod.objects.bulk_create(
        PresencePeriod(
            datalogger=row,
            presence=("online", "offline")[n % 2],
            started_at=NOW - hours(12 * (n + 1)),
            ended_at=NOW - hours(12 * n) if n else None,
        )
        for row in rows
        for n in range(500)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_presenceperiod")
        day = window("24h", now=NOW, zone="UTC")
        sql, values = uptime._statement([row.pk for row in rows[:20]], [day])
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql, values)
        plan = cursor.fetchone()[0][0]["Plan"]

    scans = list(_scans(plan))
    assert scans
    for scan in scans:
        assert scan["Node Type"] != "Seq Scan", scan
        read = scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)
        assert read * scan["Actual Loops"] <= 20 * 3, scan


def _scans(node: dict) -> list[dict]:
    own = [node] if node.get("Relation Name") else []
    return own + [found for each in node.get("Plans", []) for found in _scans(each)]
