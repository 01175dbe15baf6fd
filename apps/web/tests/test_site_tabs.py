"""The further pages of a site: who sees them, what is on them, what their forms do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.translations import read_po
from apps.devices.discovery import Key, Sighting, note, see
from apps.devices.models import (
    Datalogger,
    DiscoveredTopic,
    DiscoverySession,
    SensorDevice,
)
from apps.sites import commands, publish_requests, reports, services, trials
from apps.sites.models import (
    Command,
    CommandState,
    ConnectionStats,
    GapCause,
    MqttConnection,
    Site,
    SuspectedGap,
)
from apps.sites.serializers import MAX_PEM
from apps.sites.services import connection_of
from apps.sites.tests.builders import report_on
from apps.telemetry.models import QuarantinedMessage, TopicMapping
from apps.web.tests.conftest import MARKUP, make_devices
from apps.web.tests.pages import page_of
from apps.web.tests.test_italian import CATALOG

SCRIPT = {"x-script": "1"}
PAYLOAD = (
    b'{"temperature": 21.5, "humidity": 48, "on": true, "at": "2026-11-20T10:00:00Z"}'
)
TABS = ("", "topics/", "messages/", "quarantine/", "commands/", "connection/", "edit/")


def url(site, tab=""):
    return f"/sites/{site.pk}/{tab}"


def find_topic(site, name="zigbee/kitchen", payload=PAYLOAD):
    seen: dict[Key, Sighting] = {}
    now_us = int(timezone.now().timestamp() * 1e6)
    topic = f"{site.code}/{name}".encode()
    see(seen, site.pk, topic, payload, qos=1, retain=False, at_us=now_us)
    note(seen)
    return DiscoveredTopic.objects.get(site=site, topic=topic.decode())


def quarantine(site, payload=b"{broken", reason="json_invalid", **but):
    fields = {
        "site": site,
        "topic": f"{site.code}/datalogger/a/1/data",
        "payload": payload,
        "payload_size": len(payload),
        "qos": 1,
        "retain": False,
        "reason": reason,
        "detail": "line 1",
    }
    return QuarantinedMessage.objects.create(**(fields | but))


@pytest.fixture
def full(connected):
    """A site with something on each of its pages, all of it full of markup."""
    make_devices(connected)
    find_topic(connected)
    find_topic(connected, MARKUP, MARKUP.encode())
    find_topic(connected, "binary", b"\x00\xff")
    quarantine(connected, MARKUP.encode(), detail=MARKUP)
    quarantine(connected, b'{"values": {"t": 1}}')
    quarantine(connected, replayed_at=timezone.now())
    DiscoverySession.objects.create(
        site=connected, username=MARKUP[:150], duration_s=60, detail=MARKUP
    )
    Command.objects.create(
        site=connected,
        username=MARKUP[:150],
        topic=MARKUP,
        payload_size=3,
        payload_sha256="0" * 64,
        state=CommandState.ANSWERED,
        detail=MARKUP,
        sent_at=timezone.now(),
        delivered_at=timezone.now() + timedelta(milliseconds=12.5),
        expires_at=timezone.now(),
        reply=MARKUP,
        replied_at=timezone.now(),
    )
    return connected


def post(client, path, script=True, **data):
    return client.post(path, data, headers=SCRIPT if script else {})


# -- who sees what -------------------------------------------------------------


@pytest.mark.parametrize("tab", TABS)
def test_each_page_sends_a_stranger_to_the_login(client, north, tab):
    response = client.get(url(north, tab))

    assert response.url.startswith("/login/?next=")


@pytest.mark.parametrize("tab", TABS)
def test_no_page_of_a_hidden_site_is_there_for_others(client, hidden, outsider, tab):
    client.force_login(outsider)

    assert client.get(url(hidden, tab)).status_code == 404


def test_each_person_opens_the_pages_that_are_theirs(
    client, connected, superuser, operator, viewer
):
    seen = {}
    for person in (viewer, operator, superuser):
        client.force_login(person)
        seen[person.username] = [
            client.get(url(connected, tab)).status_code for tab in TABS
        ]

    assert seen == {
        "viewer": [200, 200, 200, 200, 403, 403, 403],
        "operator": [200, 200, 200, 200, 200, 403, 403],
        "superuser": [200] * 7,
    }


ACTIONS = {
    "test/": "superuser",
    "resubscribe/": "operator",
    "topics/discover/": "superuser",
    "topics/1/": "superuser",
    "topics/1/decide/": "superuser",
    "quarantine/replay/": "superuser",
    "publish/": "superuser",
    "connection/": "superuser",
    "edit/": "superuser",
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_stranger_changes_nothing(client, north, hidden, outsider, action):
    stranger = client.post(url(north, action))
    scripted = client.post(url(north, action), headers=SCRIPT)
    client.force_login(outsider)
    other = client.post(url(hidden, action))

    assert stranger.url.startswith("/login/?next=/sites/")
    assert scripted.status_code == 401
    assert other.status_code == 404


@pytest.mark.parametrize("action", ACTIONS)
def test_a_member_changes_what_is_theirs_alone(client, north, viewer, operator, action):
    client.force_login(viewer)
    looker = client.post(url(north, action))
    client.force_login(operator)
    member = client.post(url(north, action))

    assert looker.status_code == 403
    assert (member.status_code == 403) is (ACTIONS[action] == "superuser")


@pytest.mark.parametrize(
    "action", sorted(set(ACTIONS) - {"topics/1/", "connection/", "edit/"})
)
def test_an_action_is_never_only_looked_at(client, north, superuser, action):
    client.force_login(superuser)

    assert client.get(url(north, action)).status_code == 405


def test_only_a_superuser_makes_sites(client, operator, superuser):
    client.force_login(operator)
    refused = client.get("/sites/new/")
    client.force_login(superuser)

    assert refused.status_code == 403
    assert client.get("/sites/new/").status_code == 200


# -- the pages themselves ------------------------------------------------------


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


# -- actions -------------------------------------------------------------------


@pytest.fixture
def worker(monkeypatch):
    """Notes what a worker would be told; it takes everything."""
    told = []

    def taker(name):
        def take(*args, **_):
            told.append((name, args))
            return True

        return take

    for name in ("send_discover", "send_resubscribe", "send_publish", "send_ensure"):
        monkeypatch.setattr(commands, name, taker(name))
    return told


def test_it_subscribes_again_on_demand(client, connected, operator, worker):
    client.force_login(operator)

    response = post(client, url(connected, "resubscribe/"))

    assert response.json()["tone"] == "green"
    assert worker == [("send_resubscribe", (connected.pk,))]


def test_it_says_why_it_did_not_subscribe(client, stopped, operator, worker):
    client.force_login(operator)

    scripted = post(client, url(stopped, "resubscribe/"))
    plain = client.post(url(stopped, "resubscribe/"), follow=True)

    assert scripted.status_code == 409
    assert "start it first" in scripted.json()["text"]
    assert "start it first" in page_of(plain).text
    assert worker == []


def test_it_shows_the_steps_of_a_test(client, connected, superuser, monkeypatch):
    steps = [
        {"name": "dns", "ok": True, "ms": 1.3, "problem": "", "detail": "10.0.0.1"},
        {"name": "tls", "ok": None, "ms": 0.0, "problem": "", "detail": ""},
        {
            "name": "suback",
            "ok": False,
            "ms": 3.0,
            "problem": "filters_refused",
            "detail": MARKUP,
            "filters": [{"filter": "a/+", "ok": False}],
        },
    ]
    monkeypatch.setattr(trials, "run", lambda row, given: {"ok": False, "steps": steps})
    client.force_login(superuser)

    page = page_of(post(client, url(connected, "test/")))

    assert page.problems == []
    assert "The connection does not work" in page.texts
    assert {"good · 1.3 ms", "skipped", "failed · 3 ms", MARKUP, "a/+"} <= set(
        page.texts
    )


def test_it_says_that_no_worker_took_the_test(
    client, connected, superuser, monkeypatch
):
    def nobody(row, given):
        raise trials.NoWorkerError

    monkeypatch.setattr(trials, "run", nobody)
    client.force_login(superuser)

    page = page_of(post(client, url(connected, "test/")))

    assert "The test could not be made" in page.texts


def test_it_starts_and_stops_to_listen(client, connected, superuser, worker):
    client.force_login(superuser)

    started = post(
        client,
        url(connected, "topics/discover/"),
        duration_s="30",
        filters="a/#\n\n b ",
    )
    again = post(client, url(connected, "topics/discover/"), duration_s="30")
    stopped_ = post(client, url(connected, "topics/discover/"), stop="1")

    session = DiscoverySession.objects.get()
    assert (session.duration_s, session.filters) == (30, ["a/#", "b"])
    assert [started.status_code, again.status_code, stopped_.status_code] == [
        200,
        409,
        200,
    ]
    assert "already" in again.json()["text"]
    assert session.state == "finished"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"duration_s": "0"}, "duration"),
        ({"duration_s": "x"}, "duration"),
        ({"duration_s": "9" * 30}, "duration"),
        ({"duration_s": "5", "filters": "a#"}, "filters"),
    ],
)
def test_it_keeps_a_wrong_wish_and_says_what_is_wrong(
    client, connected, superuser, given, field
):
    client.force_login(superuser)

    response = post(client, url(connected, "topics/discover/"), **given)
    page = page_of(response)

    assert response.status_code == 200
    assert page.problems == []
    assert page.with_attribute("id", f"{field}-error")
    assert not DiscoverySession.objects.exists()


def test_it_ignores_puts_back_and_forgets_a_topic(client, connected, superuser):
    topic = find_topic(connected)
    client.force_login(superuser)
    states: list[str] = []
    for state in ("ignored", "new", "forgotten"):
        path = url(connected, f"topics/{topic.pk}/decide/")
        assert post(client, path, state=state).status_code == 200
        states += DiscoveredTopic.objects.values_list("state", flat=True) or ["gone"]

    assert states == ["ignored", "new", "gone"]
    assert post(client, path, state="new").status_code == 404


def test_no_topic_is_accepted_without_a_mapping(client, connected, superuser):
    topic = find_topic(connected)
    client.force_login(superuser)

    response = post(
        client, url(connected, f"topics/{topic.pk}/decide/"), state="accepted"
    )

    assert response.status_code == 404
    assert DiscoveredTopic.objects.get().state == "new"


# -- the mapping ---------------------------------------------------------------

FORM = {
    "device": "new",
    "new_type": "zigbee",
    "new_number": "kitchen",
    "ts_path": "$.at",
    "rows": "4",
    "path-0": "$.temperature",
    "key-0": "t",
    "label-0": "Kitchen",
    "unit-0": "°C",
    "scale-0": "2",
    "offset-0": "-1",
    "use-0": "on",
    "path-1": "$.humidity",
    "key-1": "h",
    "scale-1": "1",
    "offset-1": "0",
    "path-2": "$.on",
    "key-2": "on",
    "type-2": "boolean",
    "scale-2": "1",
    "offset-2": "0",
    "use-2": "on",
}


def test_it_previews_and_stores_nothing(client, connected, superuser):
    topic = find_topic(connected)
    client.force_login(superuser)

    response = client.post(
        url(connected, f"topics/{topic.pk}/"), FORM | {"action": "preview"}
    )
    page = page_of(response)

    assert {"42", "°C", "Kitchen", "yes"} <= set(page.texts)
    assert any("10:00:00" in text for text in page.texts)
    assert not TopicMapping.objects.exists()
    assert page.problems == []


def test_it_accepts_a_topic(client, connected, superuser, worker):
    topic = find_topic(connected)
    client.force_login(superuser)

    response = post(
        client, url(connected, f"topics/{topic.pk}/"), **FORM, action="accept"
    )

    mapping = TopicMapping.objects.get()
    assert response.json()["url"] == url(connected, "topics/")
    assert [value["key"] for value in mapping.values] == ["t", "on"]
    assert mapping.values[0]["scale"] == 2
    assert mapping.values[0]["offset"] == -1
    assert mapping.ts_path == "$.at"
    assert Datalogger.objects.get().number == "kitchen"
    assert SensorDevice.objects.get(key="t").unit_of_measure == "°C"


def test_it_shows_an_accepted_topic_as_it_is(client, connected, superuser, worker):
    topic = find_topic(connected)
    client.force_login(superuser)
    path = url(connected, f"topics/{topic.pk}/")
    post(client, path, **FORM, action="accept")
    find_topic(connected, payload=b'{"temperature": 1}')

    page = page_of(client.get(path))

    ticked = [f["name"] for f in page.with_attribute("checked")]
    assert ticked == ["use-0", "use-1"]  # what the payload does not have comes last
    values = {
        f["name"]: f["value"] for f in page.with_attribute("value") if "name" in f
    }
    assert (values["key-0"], values["scale-0"], values["key-1"]) == ("t", "2", "on")
    assert {"1", "not in this payload"} <= set(page.texts)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key-0": ""}, "blank"),
        ({"key-2": "t"}, "twice"),
        ({"scale-0": "x"}, "number"),
        ({"scale-0": "1e999"}, "number"),
        ({"path-0": "t"}, "path"),
        ({"new_type": "a/b"}, "one level"),
        ({"new_type": ""}, "Both"),
        ({"new_type": "", "new_number": ""}, "names no datalogger"),
        ({"device": "999999"}, "names no datalogger"),
        ({"use-0": None, "use-2": None}, "Tick at least one"),
        ({"rows": "9" * 5_000}, "Tick at least one"),
        ({"unit-0": "x" * 33}, "32"),
    ],
)
def test_it_keeps_a_wrong_mapping_and_says_what_is_wrong(
    client, connected, superuser, change, words
):
    topic = find_topic(connected)
    client.force_login(superuser)
    sent = {k: v for k, v in (FORM | change).items() if v is not None}

    response = client.post(
        url(connected, f"topics/{topic.pk}/"), sent | {"action": "accept"}
    )
    page = page_of(response)

    assert response.status_code == 200
    assert page.problems == []
    assert words in page.text
    if "rows" not in change:
        assert page.with_attribute("value", "Kitchen")
    assert not TopicMapping.objects.exists()


# -- publishing, the quarantine ------------------------------------------------


def test_it_publishes_once_and_shows_the_puback(
    client, connected, superuser, monkeypatch
):
    asked = []

    def publish(user, site, wish, *, key):
        asked.append((wish, key))
        now = timezone.now()
        return Command.objects.create(
            site=site,
            user=user,
            username=user.username,
            topic=wish.topic,
            payload_size=len(wish.payload),
            payload_sha256="0" * 64,
            expires_at=now,
            state=CommandState.DELIVERED,
            sent_at=now,
            delivered_at=now + timedelta(milliseconds=3.5),
        )

    monkeypatch.setattr(publish_requests, "publish", publish)
    client.force_login(superuser)
    form = {
        "topic": "gateway/g/datalogger/a/1/input",
        "message": "start\r\nnow",
        "qos": "1",
        "reply_timeout_s": "5",
        "key": "abc",
    }

    answer = post(client, url(connected, "publish/"), **form).json()
    page = page_of(client.get(answer["url"]))

    [(wish, key)] = asked
    assert wish.topic == f"{connected.code}/gateway/g/datalogger/a/1/input"
    assert (wish.payload, wish.retain, wish.reply_timeout_s) == (
        b"start\nnow",
        False,
        5,
    )
    assert key == "abc"
    assert answer["text"] == "The broker has it, after 3.5 ms"
    assert page.texts.count("PUBACK 3.5 ms") == 2


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"topic": ""}, "topic"),
        ({"topic": "a/+"}, "topic"),
        ({"topic": "a/\x07"}, "topic"),
        ({"topic": "backend/status"}, "topic"),
        ({"topic": "x" * 2_000}, "topic"),
        ({"message": "x" * 65_537}, "message"),
        ({"topic": "a/b", "reply_timeout_s": "5"}, "reply"),
    ],
)
def test_it_keeps_a_wrong_message_and_says_what_is_wrong(
    client, connected, superuser, change, field
):
    form = {"topic": "a/input", "message": MARKUP, "qos": "1"} | change
    client.force_login(superuser)

    response = post(client, url(connected, "publish/"), **form)
    page = page_of(response)

    assert response.status_code == 200
    assert page.problems == []
    assert page.with_attribute("id", f"{field}-error")
    assert not Command.objects.exists()


def test_it_says_that_nothing_was_sent(client, stopped, superuser, worker):
    client.force_login(superuser)

    response = post(
        client, url(stopped, "publish/"), topic="a/input", message="x", qos="1"
    )

    assert response.status_code == 409
    assert not Command.objects.exists()


def test_it_reads_the_quarantine_again(client, connected, superuser):
    good = quarantine(connected, b'{"values": {"t": 1}}')
    bad = quarantine(connected)
    client.force_login(superuser)
    path = url(connected, "quarantine/replay/")

    nothing = post(client, path, which="chosen")
    strange = post(client, path, which="chosen", id=["x", "9" * 40])
    chosen = post(client, path, which="chosen", id=[good.pk, bad.pk])
    rest = post(client, path, which="all", reason="json_invalid")

    assert [nothing.status_code, strange.status_code] == [400, 400]
    assert chosen.json()["text"].startswith("1 understood and stored, 1 still not")
    assert rest.json()["text"].startswith("0 understood and stored, 1 still not")


# -- settings ------------------------------------------------------------------


def settings_form(site, **change):
    rows = list(services.connection_of(site).topics.all())
    form = {
        "broker_host": "broker.example",
        "broker_port": "1883",
        "protocol": "3.1.1",
        "clean_session": "unknown",
        "topics-TOTAL_FORMS": str(len(rows) + 1),
        "topics-INITIAL_FORMS": str(len(rows)),
        f"topics-{len(rows)}-qos": "1",
        f"topics-{len(rows)}-is_active": "on",
        "action": "save",
    }
    for place, row in enumerate(rows):
        form |= {
            f"topics-{place}-id": str(row.pk),
            f"topics-{place}-pattern": row.pattern,
            f"topics-{place}-qos": str(row.qos),
            f"topics-{place}-is_active": "on",
        }
    return form | change


def test_it_stores_settings_and_keeps_the_password(
    client, connected, superuser, worker
):
    services.connection_configure(
        services.connection_of(connected), fields={}, password="CANARY-1"
    )
    client.force_login(superuser)
    form = settings_form(
        connected,
        broker_host="other.example",
        keepalive="30",
        clean_session="true",
        **{"topics-9-pattern": "extra/+", "topics-0-DELETE": "on"},
    )

    response = post(client, url(connected, "connection/"), **form)

    row = MqttConnection.objects.get(site=connected)
    patterns = list(row.topics.values_list("pattern", flat=True))
    assert response.json()["text"] == "The connection changes to the new settings."
    assert (row.broker_host, row.keepalive, row.clean_session) == (
        "other.example",
        30,
        True,
    )
    assert row.read_password() == "CANARY-1"
    assert "extra/+" in patterns
    assert "gateway/+/heartbeat" not in patterns


def test_it_never_shows_a_secret(client, connected, superuser):
    services.connection_configure(
        services.connection_of(connected), fields={}, password="CANARY-1"
    )
    client.force_login(superuser)

    shown = client.get(url(connected, "connection/")).content.decode()
    refused = client.post(
        url(connected, "connection/"),
        settings_form(connected, broker_port="0", password="CANARY-2"),
    )

    assert "CANARY" not in shown + refused.content.decode()
    assert "One is stored" in shown


def test_it_removes_a_password(client, connected, superuser, worker):
    services.connection_configure(
        services.connection_of(connected), fields={}, password="CANARY-1"
    )
    client.force_login(superuser)

    post(
        client,
        url(connected, "connection/"),
        **settings_form(connected, remove_password="on"),
    )

    assert not MqttConnection.objects.get(site=connected).has_password


def test_it_tries_what_is_not_stored_yet(client, connected, superuser, monkeypatch):
    asked = []

    def run(row, given):
        asked.append((row.broker_host, given))
        return {"ok": True, "steps": []}

    monkeypatch.setattr(trials, "run", run)
    client.force_login(superuser)
    form = settings_form(
        connected, broker_host="other.example", password="pw", action="test"
    )

    page = page_of(post(client, url(connected, "connection/"), **form))

    [(stored, given)] = asked
    assert stored == "broker.example"
    assert (given.fields["broker_host"], given.password) == ("other.example", "pw")
    assert len(given.topics) == 9
    assert "The connection works" in page.texts
    assert MqttConnection.objects.get(site=connected).broker_host == "broker.example"
    assert page.problems == []


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"broker_host": ""}, "id_broker_host"),
        ({"broker_host": "mqtt://x"}, "id_broker_host"),
        ({"broker_port": "0"}, "id_broker_port"),
        ({"keepalive": "1"}, "id_keepalive"),
        ({"client_id_prefix": "a b"}, "id_client_id_prefix"),
        ({"tls_ca": "no PEM"}, "id_tls_ca"),
        ({"tls_ca": "x" * (MAX_PEM + 1)}, "id_tls_ca"),
        ({"tls_client_key": "no PEM"}, "id_tls_client_key"),
        ({"topics-0-pattern": "a/#/b"}, "id_topics-0-pattern"),
        ({"topics-9-pattern": "/a"}, "id_topics-9-pattern"),
    ],
)
def test_it_keeps_wrong_settings_and_says_what_is_wrong(
    client, connected, superuser, change, field
):
    client.force_login(superuser)

    response = post(
        client,
        url(connected, "connection/"),
        **settings_form(connected, username="someone", **change),
    )
    page = page_of(response)

    assert response.status_code == 200
    assert page.problems == []
    assert page.with_attribute("id", f"{field}_error")
    assert page.with_attribute("value", "someone")
    assert MqttConnection.objects.get(site=connected).username == ""


def test_a_filter_twice_is_refused(client, connected, superuser):
    client.force_login(superuser)
    form = settings_form(connected, **{"topics-9-pattern": "gateway/+/heartbeat"})

    page = page_of(post(client, url(connected, "connection/"), **form))

    assert "duplicate data for pattern" in page.text
    assert page.with_attribute("role", "alert")


SITE_FORM = {
    "name": "South",
    "code": "",
    "timezone": "Europe/Rome",
    "visibility": "members",
}


def test_it_makes_a_site_and_goes_on_to_its_broker(client, superuser):
    client.force_login(superuser)

    answer = post(client, "/sites/new/", **SITE_FORM).json()

    site = Site.objects.get(name="South")
    assert answer["url"] == url(site, "connection/")
    assert site.code == f"site_{site.pk:03d}"
    assert (site.timezone, site.visibility) == ("Europe/Rome", "members")
    assert services.connection_of(site).topics.count() == 9


def test_it_changes_a_site(client, connected, superuser, worker):
    client.force_login(superuser)

    post(client, url(connected, "edit/"), **SITE_FORM)

    site = Site.objects.get(pk=connected.pk)
    assert (site.name, site.timezone, site.code) == (
        "South",
        "Europe/Rome",
        connected.code,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"code": "a/b"},
        {"code": "taken"},
        {"timezone": "Mars/Base"},
        {"latitude": "91"},
        {"longitude": "nan"},
    ],
)
def test_it_keeps_a_wrong_site_and_says_what_is_wrong(client, north, superuser, change):
    services.site_create(name="Other", code="taken")
    client.force_login(superuser)
    [field] = change

    for path in ("/sites/new/", url(north, "edit/")):
        response = post(client, path, **(SITE_FORM | change))
        page = page_of(response)
        assert response.status_code == 200
        assert page.problems == []
        assert page.with_attribute("id", f"id_{field}_error")
    assert Site.objects.get(pk=north.pk).name == "North"
