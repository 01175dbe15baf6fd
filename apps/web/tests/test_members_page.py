"""The members of a site on its settings page."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from apps.sites.models import SiteMember
from apps.web.tests.conftest import MARKUP
from apps.web.tests.pages import page_of
from apps.web.tests.site_tabs import post, url

pytestmark = pytest.mark.django_db


def roles(site):
    rows = SiteMember.objects.filter(site=site).order_by("user__username")
    return dict(rows.values_list("user__username", "role"))


def member(site, user):
    return SiteMember.objects.get(site=site, user=user)


@pytest.fixture
def as_superuser(client, superuser):
    client.force_login(superuser)
    return client


def test_it_shows_who_is_a_member_and_suggests_the_others(
    client, connected, superuser, outsider
):
    User.objects.create_user("gone", is_active=False)
    User.objects.filter(username="viewer").update(first_name=MARKUP)
    client.force_login(superuser)

    page = page_of(client.get(url(connected, "edit/")))

    assert page.problems == []
    assert {"operator", "viewer", MARKUP} <= set(page.texts)
    people = [f["value"] for tag, f in page.elements if tag == "option" and f["value"]]
    assert "outsider" in people
    assert not {"gone", "superuser"} & set(people)


def test_a_superuser_adds_changes_and_removes(client, connected, superuser, outsider):
    client.force_login(superuser)

    added = post(
        client, url(connected, "members/"), username=" outsider ", role="operator"
    )
    row = member(connected, outsider)
    changed = post(client, url(connected, f"members/{row.pk}/"), role="viewer")
    now = roles(connected)
    removed = post(client, url(connected, f"members/{row.pk}/"), remove="1")
    again = post(client, url(connected, f"members/{row.pk}/"), remove="1")

    texts = [answer.json()["text"] for answer in (added, changed, removed, again)]
    assert texts == [
        "outsider is a member now",
        "Role changed",
        "No member any more",
        "This membership had ended already",
    ]
    assert now == {"operator": "operator", "outsider": "viewer", "viewer": "viewer"}
    assert roles(connected) == {"operator": "operator", "viewer": "viewer"}


@pytest.mark.parametrize(
    ("username", "role", "words"),
    [
        ("nobody", "viewer", "Nobody here is called 'nobody'"),
        ("", "viewer", "Whose name?"),
        ("50%s", "viewer", "Nobody here is called '50%s'"),
        ("superuser", "viewer", "is an administrator"),
        ("gone", "viewer", "is switched off"),
        ("operator", "viewer", "is a member already"),
        ("outsider", "owner", "Choose a role"),
        ("x" * 200, "viewer", "Nobody here is called"),
        ("a\0b", "viewer", "Nobody here is called"),
    ],
)
@pytest.mark.usefixtures("outsider")
def test_it_says_beside_the_field_why_not(
    as_superuser, connected, username, role, words
):
    User.objects.create_user("gone", is_active=False)
    before = roles(connected)

    page = page_of(
        post(as_superuser, url(connected, "members/"), username=username, role=role)
    )

    assert words in page.text
    assert page.problems == []
    assert page.with_attribute("aria-invalid", "true")
    assert roles(connected) == before


@pytest.mark.parametrize("who", ["operator", "viewer", "outsider"])
def test_nobody_else_may(client, connected, viewer, request, who):
    row = member(connected, viewer)
    client.force_login(request.getfixturevalue(who))

    for path in ("members/", f"members/{row.pk}/"):
        sent = {"username": "outsider", "role": "operator"}
        response = post(client, url(connected, path), **sent)
        assert response.status_code == 403
    assert roles(connected)["viewer"] == "viewer"


def test_no_role_is_changed_through_another_site(client, connected, hidden, superuser):
    row = hidden.members.get(user__username="viewer")
    client.force_login(superuser)

    post(client, url(connected, f"members/{row.pk}/"), role="operator")
    post(client, url(connected, f"members/{row.pk}/"), remove="1")
    wrong = post(client, url(hidden, f"members/{row.pk}/"), role="owner")

    assert wrong.status_code == 400
    assert roles(hidden)["viewer"] == "viewer"
