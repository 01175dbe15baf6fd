"""The further pages of a site: who sees them, and who changes what."""

from __future__ import annotations

import pytest

from apps.web.tests.site_tabs import SCRIPT, TABS, url


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
def test_an_action_s_address_shows_the_page_it_belongs_to(
    client, north, superuser, action
):
    client.force_login(superuser)

    found = client.get(url(north, action))

    assert found.status_code == 302
    assert client.get(found["Location"]).status_code == 200
    assert client.put(url(north, action)).status_code == 405


def test_only_a_superuser_makes_sites(client, operator, superuser):
    client.force_login(operator)
    refused = client.get("/sites/new/")
    client.force_login(superuser)

    assert refused.status_code == 403
    assert client.get("/sites/new/").status_code == 200
