"""What the writer knows of the sites' rules: read when it changed, kept while blind."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from apps.devices.models import Datalogger
from apps.telemetry.mappings import mapping_create, mapping_delete, mapping_update
from apps.telemetry.models import TopicMapping
from apps.telemetry.protocols.mapped import NO_RULES
from workers.rulebook import CHECK_S, RuleBook
from workers.tests.fakes import Clock

VALUES = [{"path": "$.t", "key": "t"}]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(db: None, clock: Clock) -> RuleBook:
    return RuleBook(clock)


def later(book: RuleBook, clock: Clock) -> int:
    """Let a second pass; return how many statements the next look took."""
    clock.now += CHECK_S
    with CaptureQueriesContext(
        connection,
    ) as statements:
        book.refresh()
    return len(statements)


def test_a_site_without_rules_has_none(book, north):
    book.refresh()

    assert book.of_site(north.pk) is NO_RULES


def test_a_change_is_known_within_a_second(book, clock, north, hidden):
    book.refresh()
    row = mapping_create(north, version=3, values=VALUES)
    later(book, clock)
    assert list(book.of_site(north.pk).by_version) == [3]
    assert book.of_site(hidden.pk) == NO_RULES

    mapping_update(row, fields={"values": [{"path": "$.x", "key": "t"}]})
    later(book, clock)
    assert book.of_site(north.pk).by_version[3].values[0].path == ("x",)

    mapping_update(row, fields={"is_active": False})
    later(book, clock)
    assert book.of_site(north.pk) == NO_RULES

    mapping_update(row, fields={"is_active": True})
    mapping_delete(row)
    topic = f"{north.code}/a"
    mapping_create(
        north, topic=topic, datalogger_type="a", datalogger_number="1", values=VALUES
    )
    later(book, clock)
    rules = book.of_site(north.pk)
    assert (list(rules.by_topic), list(rules.by_version)) == ([topic.encode()], [])


def test_an_older_change_that_commits_later_is_not_missed(book, clock, north):
    older = mapping_create(north, version=3, values=VALUES)
    mapping_create(north, version=4, values=VALUES)
    later(book, clock)
    moment = older.updated_at.replace(year=2020)

    TopicMapping.objects.filter(pk=older.pk).update(version=5, updated_at=moment)
    later(book, clock)

    assert set(book.of_site(north.pk).by_version) == {4, 5}


def test_a_pin_is_known_within_a_second_and_gone_with_its_datalogger(
    book, clock, north
):
    datalogger = Datalogger.objects.create(site=north, type="monstro", number="15")
    later(book, clock)
    for version in (2, 3, None, 2):
        Datalogger.objects.update(protocol_version=version)
        later(book, clock)
        assert book.of_site(north.pk).pins.get(("monstro", "15")) == version

    datalogger.delete()
    later(book, clock)

    assert book.of_site(north.pk) == NO_RULES


def test_looking_costs_one_statement_a_second(book, clock, north):
    mapping_create(north, version=3, values=VALUES)
    later(book, clock)

    assert later(book, clock) == 1
    with CaptureQueriesContext(connection) as statements:
        book.refresh()
    assert len(statements) == 0


def test_only_what_changed_is_read_again(book, clock, north):
    rows = [mapping_create(north, version=3 + n, values=VALUES) for n in range(3)]
    later(book, clock)
    known = book.of_site(north.pk).by_version[3]

    mapping_update(rows[1], fields={"ts_path": "$.at"})
    later(book, clock)

    assert book.of_site(north.pk).by_version[3] is known
    assert book.of_site(north.pk).by_version[4].ts_path == ("at",)


def test_while_the_database_is_away_the_last_answer_holds(
    book, clock, north, monkeypatch
):
    mapping_create(north, version=3, values=VALUES)
    later(book, clock)

    def away() -> None:
        raise OperationalError

    monkeypatch.setattr(book, "_look", away)
    later(book, clock)

    assert list(book.of_site(north.pk).by_version) == [3]


def test_a_damaged_mapping_costs_only_itself(book, clock, north):
    row = mapping_create(north, version=3, values=VALUES)
    mapping_create(north, version=4, values=VALUES)
    TopicMapping.objects.filter(pk=row.pk).update(values=[{"path": "no path"}])

    later(book, clock)

    assert list(book.of_site(north.pk).by_version) == [4]
