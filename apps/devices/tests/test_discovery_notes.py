"""Sightings of topics in the database: counted, bounded, without deadlocks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from apps.core.tests.planner import join_by_nested_loops
from apps.devices import discovery
from apps.devices.discovery import Allowance, Sighting, note, see, topic_text
from apps.devices.models import DiscoveredTopic, TopicState
from apps.devices.tests.sightings import START_US, seen
from apps.sites.models import ConnectionStats, Site, Visibility
from apps.sites.services import site_create


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """A site keeps five topics here."""
    monkeypatch.setattr(discovery, "MAX_TOPICS", 5)
    return 5


def dropped(site: Site) -> int:
    return ConnectionStats.objects.get(connection__site=site).topics_dropped


def topics(site: Site) -> set[str]:
    return set(
        DiscoveredTopic.objects.filter(site=site).values_list("topic", flat=True)
    )


def test_it_stores_what_was_seen(north: Site) -> None:
    (new_id,) = note(seen(north, "site_001/valve/3", payload=b'{"a": {"b": 2.5}}'))

    topic = DiscoveredTopic.objects.get()
    assert topic.pk == new_id
    assert (topic.topic, topic.site, topic.state) == ("site_001/valve/3", north, "new")
    assert bytes(topic.last_payload) == b'{"a": {"b": 2.5}}'
    assert topic.content_type == "json"
    assert topic.paths == [{"path": "$.a.b", "type": "number"}]
    assert topic.first_seen == topic.last_seen
    assert (topic.message_count, topic.rate_per_minute, topic.qos) == (1, None, 1)


def test_it_counts_on_and_keeps_the_newest_payload(north: Site) -> None:
    note(seen(north, "t", payload=b"first", at_s=60))

    again = note(seen(north, "t", "t", payload=b"2", at_s=120))
    late = note(seen(north, "t", payload=b"late", at_s=0))

    topic = DiscoveredTopic.objects.get()
    assert (again, late) == ([], [])
    assert topic.message_count == 4
    assert (bytes(topic.last_payload), topic.content_type) == (b"2", "number")
    assert (topic.last_seen - topic.first_seen).total_seconds() == 120


def test_the_rate_is_that_of_the_last_minutes(north: Site) -> None:
    for second in range(0, 600, 10):
        note(seen(north, "t", at_s=second))
    at_first = DiscoveredTopic.objects.get().rate_per_minute
    for second in range(600, 4_200, 60):
        note(seen(north, "t", at_s=second))
    note(seen(north, "t", at_s=4_000_000))

    assert at_first == pytest.approx(6)
    topic = DiscoveredTopic.objects.get()
    assert topic.rate_per_minute == pytest.approx(60 / (4_000_000 - 4_140), rel=1e-3)


def test_a_burst_is_no_rate_of_millions(north: Site) -> None:
    note(seen(north, *["t"] * 50))

    assert DiscoveredTopic.objects.get().rate_per_minute == 60 * 49


def test_it_takes_what_no_database_likes(north: Site) -> None:
    nasty = [
        b"nul\0here",
        b"nul\\x00here",
        b"\xff\xfe",
        b"<script>alert(1)</script>",
        b'quote"\\{},NULL',
        b"x" * 65_535,
        "\N{PILE OF POO}/è".encode(),
        b"",
    ]
    sightings: dict[discovery.Key, Sighting] = {}
    for topic in nasty:
        see(
            sightings,
            north.pk,
            topic,
            b'{"\\u0000":"\\u0000"}' + b"\0" * 5_000,
            qos=0,
            retain=True,
            at_us=START_US,
        )

    note(sightings)
    note(sightings)

    assert topics(north) == {topic_text(topic) for topic in nasty}
    assert set(
        DiscoveredTopic.objects.values_list("payload_size", "content_type", "retain")
    ) == {(5_019, "binary", True)}
    assert {len(t.last_payload) for t in DiscoveredTopic.objects.all()} == {4_096}


def test_it_takes_two_statements_whatever_the_size(north: Site) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        note(seen(north, *(f"t/{i}" for i in range(500))))

    assert len(queries) == 2
    assert DiscoveredTopic.objects.count() == 500


def test_the_least_recently_seen_make_room(north: Site, few: int) -> None:
    for second in range(few):
        note(seen(north, f"t{second}", at_s=second))
    note(seen(north, "t0", at_s=10))

    note(seen(north, "newcomer", "another", at_s=11))

    assert topics(north) == {"t3", "t4", "t0", "newcomer", "another"}
    assert dropped(north) == 2


def test_only_what_is_too_much_goes_however_it_is_planned(
    north: Site, few: int
) -> None:
    join_by_nested_loops()
    for second in range(few):
        note(seen(north, f"t{second}", at_s=second))

    note(seen(north, "newcomer", at_s=10))

    assert topics(north) == {"t1", "t2", "t3", "t4", "newcomer"}
    assert dropped(north) == 1


def test_what_a_person_decided_stays_and_the_newcomer_goes(
    north: Site, few: int
) -> None:
    note(seen(north, *(f"t{i}" for i in range(few))))
    DiscoveredTopic.objects.filter(topic="t0").update(state=TopicState.ACCEPTED)
    DiscoveredTopic.objects.exclude(topic="t0").update(state=TopicState.IGNORED)

    new = note(seen(north, "newcomer", "t1", at_s=1))

    assert new == []
    assert topics(north) == {f"t{i}" for i in range(few)}
    assert dropped(north) == 1
    ignored = DiscoveredTopic.objects.get(topic="t1")
    assert (ignored.state, ignored.message_count) == ("ignored", 2)


def test_more_at_once_than_a_site_may_have(north: Site, few: int) -> None:
    new = note(seen(north, *(f"t{i}" for i in range(few + 7))))

    assert len(new) == few == len(topics(north))
    assert dropped(north) == 7


def test_each_site_has_its_own_bound(north: Site, hidden: Site, few: int) -> None:
    both = seen(north, "a", "b", "c") | seen(hidden, "a", "b", "c", "d")

    new = note(both)

    assert len(new) == 7
    assert (dropped(north), dropped(hidden)) == (0, 0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_storm_is_written_at_a_bounded_rate(north: Site, hidden: Site) -> None:
    clock = Clock()
    allowance = Allowance(clock)

    at_once = allowance.note(
        seen(north, *(f"t/{i}" for i in range(2_000))) | seen(hidden, "quiet")
    )
    clock.now += 1
    later = allowance.note({})
    clock.now += 100
    rest = [len(allowance.note({})) for _ in range(3)]

    assert len(at_once) == 401
    assert len(later) == 200
    assert rest == [400, 0, 0]
    assert not allowance.has_waiting
    assert dropped(north) == 1_000
    assert topics(hidden) == {"quiet"}


def test_what_waits_is_counted_on(north: Site) -> None:
    clock = Clock()
    allowance = Allowance(clock)
    allowance.note(seen(north, *(f"t/{i}" for i in range(500))))
    allowance.note(seen(north, "t/499", payload=b"newest", at_s=1))

    clock.now += 10
    allowance.note({})

    topic = DiscoveredTopic.objects.get(topic="t/499")
    assert (topic.message_count, bytes(topic.last_payload)) == (2, b"newest")
    assert dropped(north) == 0


@pytest.fixture
def lone_site(transactional_db: None) -> Site:
    return site_create(name="Lone", visibility=Visibility.ALL_USERS)


def test_threads_do_not_wait_for_each_other_in_a_ring(
    lone_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MAX_TOPICS", 40)
    start = threading.Barrier(4)

    def work(thread: int) -> None:
        start.wait()
        for turn in range(15):
            names = [f"t/{(thread * 7 + turn * 11 + i) % 90}" for i in range(45)]
            with transaction.atomic():
                note(seen(lone_site, *names[::-1], at_s=turn))
        connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        for result in [pool.submit(work, n) for n in range(4)]:
            result.result(timeout=60)
    note(seen(lone_site, "last", at_s=100))

    assert len(topics(lone_site)) == 40
