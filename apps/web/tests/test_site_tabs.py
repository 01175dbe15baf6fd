"""The further pages of a site: what is on them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.translations import read_po
from apps.devices.models import DiscoveredTopic
from apps.sites import reports
from apps.sites.models import ConnectionStats, GapCause, SuspectedGap
from apps.sites.services import connection_of
from apps.sites.tests.builders import report_on
from apps.web.tests.conftest import make_devices
from apps.web.tests.pages import page_of
from apps.web.tests.site_tabs import TABS, find_topic, quarantine, url
from apps.web.tests.test_italian import CATALOG


@pytest.mark.parametrize("language", ["en", "it"])
@pytest.mark.parametrize("tab", [*TABS, "topics/?state=new", "quarantine/?replayed=1"])
def test_each_page_is_valid_and_in_its_language(client, full, superuser, tab, language):
    client.force_login(superuser)
    english = {key for key, text in read_po(CATALOG).items() if key != text}

    response = client.get(url(full, tab), headers={"accept-language": language})
    page = page_of(response)

    assert page.problems == []
    assert "<img src=x" not in response.content.decode()
    if language == "it":
        assert set(page.texts) & english == set()


def test_the_dialog_is_a_valid_page_of_its_own(client, full, superuser):
    client.force_login(superuser)

    for topic in DiscoveredTopic.objects.all():
        page = page_of(client.get(url(full, f"topics/{topic.pk}/")))
        assert page.problems == []


def test_the_page_of_a_new_site_is_valid(client, superuser):
    client.force_login(superuser)

    assert page_of(client.get("/sites/new/")).problems == []


@pytest.mark.parametrize("tab", ["topics/", "quarantine/", "commands/", "connection/"])
def test_a_page_needs_the_same_queries_for_any_number_of_rows(
    client, connected, superuser, tab
):
    client.force_login(superuser)
    counts = []
    for round_ in (0, 1):
        for number in range(1 + 20 * round_):
            find_topic(connected, f"t/{round_}/{number}")
            quarantine(connected)
        make_devices(connected, dataloggers=1) if not round_ else None
        with CaptureQueriesContext(connection) as queries:
            client.get(url(connected, tab))
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_a_viewer_reads_topics_and_decides_nothing(client, full, viewer):
    client.force_login(viewer)

    page = page_of(client.get(url(full, "topics/")))

    assert f"{full.code}/zigbee/kitchen" in page.texts
    assert not [f for f in page.with_attribute("action") if "/topics/" in f["action"]]
    assert not page.with_attribute("data-dialog")


def count_topics(page):
    keys = [found["data-key"] for found in page.with_attribute("data-key")]
    return sum(key.startswith("topic-") for key in keys)


def test_topics_are_filtered_by_state_and_by_text(client, full, viewer):
    client.force_login(viewer)
    DiscoveredTopic.objects.filter(topic__endswith="binary").update(state="ignored")

    ignored = page_of(client.get(url(full, "topics/?state=ignored")))
    found = page_of(client.get(url(full, "topics/?q=kitch")))
    nonsense = client.get(url(full, "topics/?q=%00&state=x&page=x"))

    assert count_topics(ignored) == 1
    assert count_topics(found) == 1
    assert nonsense.status_code == 200


def test_the_sum_of_what_came_in_is_right(client, connected, viewer):
    ConnectionStats.objects.filter(connection__site=connected).update(
        received=10, stored=6, duplicate=1, quarantined=2, dropped=1
    )
    client.force_login(viewer)

    texts = page_of(client.get(url(connected))).texts

    place = texts.index("Received")
    assert texts[place : place + 12] == [
        *("Received", "10", "Stored", "6", "Came twice", "1"),
        *("Quarantined", "2", "Dropped", "1", "On their way", "0"),
    ]


def test_what_waits_on_disk_and_what_nobody_can_explain_is_told(
    client, connected, viewer
):
    row = connection_of(connected)
    ConnectionStats.objects.filter(connection=row).update(received=10, stored=7)
    said = report_on(row, counters={"in_flight": 5, "spooled": 4})
    reports.store([said])
    client.force_login(viewer)

    texts = page_of(client.get(url(connected))).texts

    place = texts.index("On their way")
    assert texts[place + 1 : place + 4] == ["5 (on disk: 4)", "Unexplained", "3"]
    assert texts[texts.index("Received") + 1] == "15"


def test_a_gap_is_told_in_the_timeline_and_for_a_day_above_it(
    client, connected, viewer
):
    ended = timezone.now() - timedelta(hours=2)
    gap = SuspectedGap.objects.create(
        connection=connection_of(connected),
        began_at=ended - timedelta(minutes=5),
        ended_at=ended,
        cause=GapCause.SESSION_LOST,
    )
    client.force_login(viewer)

    new = " ".join(page_of(client.get(url(connected))).texts)
    SuspectedGap.objects.filter(pk=gap.pk).update(ended_at=ended - timedelta(days=2))
    old = " ".join(page_of(client.get(url(connected))).texts)

    assert new.count("the broker no longer had our session") == 2
    assert old.count("the broker no longer had our session") == 1
