"""Sites over the API."""

from __future__ import annotations

import pytest

from apps.core.tests.clients import client_of, is_error
from apps.sites.models import MqttConnection, Site, Visibility
from apps.sites.patterns import DEFAULT_PATTERNS
from apps.sites.services import site_create
from apps.sites.tests.builders import running

SITES = "/api/v1/sites/"
FIELDS = {"id", "name", "code", "timezone", "latitude", "longitude", "visibility"}


def test_a_created_site_has_a_code_and_a_connection_with_the_default_topics(superuser):
    answer = client_of(superuser).post(SITES, {"name": "Lake"}, format="json")

    assert answer.status_code == 201
    body = answer.json()
    site = Site.objects.get(pk=body["id"])
    assert body == {
        "id": site.pk,
        "name": "Lake",
        "code": f"site_{site.pk:03d}",
        "timezone": "UTC",
        "latitude": None,
        "longitude": None,
        "visibility": "all_users",
    }
    topics = site.connection.topics.values_list("pattern", flat=True)
    assert tuple(topics) == DEFAULT_PATTERNS


def test_everything_can_be_chosen(superuser):
    wanted = {
        "name": "Lago",
        "code": "lago-1",
        "timezone": "Europe/Rome",
        "latitude": 45.5,
        "longitude": 9.25,
        "visibility": "members",
    }

    body = client_of(superuser).post(SITES, wanted, format="json").json()

    assert body == {**wanted, "id": body["id"]}
    assert client_of(superuser).get(f"{SITES}{body['id']}/").json() == body


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 201),
        ("name", None),
        ("code", "a/b"),
        ("code", "a b"),
        ("code", "+"),
        ("code", "#"),
        ("code", "$SYS"),
        ("code", "a\nb"),
        ("code", "é"),
        ("code", "x" * 65),
        ("timezone", "Mars/Base"),
        ("timezone", "../etc/passwd"),
        ("latitude", 90.1),
        ("latitude", "NaN"),
        ("longitude", "inf"),
        ("longitude", -181),
        ("visibility", "nobody"),
    ],
)
def test_a_wrong_value_is_refused_by_name(superuser, field, value):
    wanted = {"name": "Lake", field: value}

    answer = client_of(superuser).post(SITES, wanted, format="json")

    assert answer.status_code == 400
    assert is_error(answer.json())
    assert list(answer.json()["fields"]) == [field]
    assert not Site.objects.exists()


def test_a_code_is_there_once(superuser, north):
    wanted = {"name": "Other", "code": north.code}

    answer = client_of(superuser).post(SITES, wanted, format="json")

    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["code"]


def test_a_new_code_makes_a_running_connection_follow(superuser, north):
    before = running(north)

    answer = client_of(superuser).patch(
        f"{SITES}{north.pk}/", {"code": "elsewhere"}, format="json"
    )

    assert answer.json()["code"] == "elsewhere"
    after = MqttConnection.objects.get(pk=before.pk)
    assert after.generation == before.generation + 1
    assert after.status == "connecting"


def test_a_new_name_leaves_the_connection_alone(superuser, north):
    before = running(north)

    client_of(superuser).patch(f"{SITES}{north.pk}/", {"name": "Nord"}, format="json")

    after = MqttConnection.objects.get(pk=before.pk)
    assert (after.generation, after.status) == (before.generation, "connected")
    assert Site.objects.get(pk=north.pk).name == "Nord"


def test_an_emptied_code_becomes_the_default_again(superuser, north):
    path = f"{SITES}{north.pk}/"
    client_of(superuser).patch(path, {"code": "elsewhere"}, format="json")

    body = client_of(superuser).patch(path, {"code": ""}, format="json").json()

    assert body["code"] == f"site_{north.pk:03d}"


def test_a_deleted_site_is_gone(superuser, north):
    answer = client_of(superuser).delete(f"{SITES}{north.pk}/")

    assert answer.status_code == 204
    assert not Site.objects.exists()
    assert not MqttConnection.objects.exists()


def test_the_list_comes_in_pages_that_link_to_each_other(viewer):
    for place in range(5):
        site_create(name=f"Site {place}")
    client = client_of(viewer)

    first = client.get(f"{SITES}?limit=2&other=1").json()
    second = client.get(first["next"]).json()
    third = client.get(second["next"]).json()

    assert [page["count"] for page in (first, second, third)] == [5, 5, 5]
    names = [site["name"] for page in (first, second, third) for site in page["sites"]]
    assert names == [f"Site {place}" for place in range(5)]
    assert set(first["sites"][0]) == FIELDS
    assert first["previous"] is None
    assert third["next"] is None
    assert "other=1" in first["next"]
    assert client.get(second["previous"]).json()["sites"] == first["sites"]


def test_a_page_behind_the_end_is_empty(viewer, north):
    body = client_of(viewer).get(f"{SITES}?offset=7").json()

    assert (body["sites"], body["count"], body["next"]) == ([], 1, None)
    assert body["previous"] is not None


def test_its_query_count_does_not_grow_with_the_sites(
    outsider, django_assert_num_queries
):
    client = client_of(outsider)
    for place in range(40):
        if place in (10, 39):
            with django_assert_num_queries(3):  # user, count, rows
                client.get(SITES)
        site_create(name=f"Site {place}", visibility=Visibility.ALL_USERS)
