"""A saved status is broadcast, and nothing else is."""

from __future__ import annotations

import pytest

from apps.core import events
from apps.sites import broadcast
from apps.sites.models import Reason, Site, SiteMember, Status, Visibility
from apps.sites.services import change_status, connection_configure, connection_of
from apps.sites.tests.builders import running

Said = list[tuple[list[str], str, dict]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    heard: Said = []

    def emit(channels, event, data) -> bool:
        heard.append((list(channels), event, dict(data)))
        return True

    monkeypatch.setattr(broadcast.events, "emit", emit)
    return heard


def test_a_new_status_is_told_after_the_commit(
    north, said, django_capture_on_commit_callbacks
):
    row = running(north)
    said.clear()

    with django_capture_on_commit_callbacks(execute=True):
        change_status(row, status=Status.ERROR, reason=Reason.LOST, detail="secret")
        assert said == []

    assert said == [
        (
            [events.site_channel(north.pk), events.STATUS_FOR_ALL],
            "status",
            {
                "site_id": north.pk,
                "status": "error",
                "is_enabled": True,
                "reason": "lost",
            },
        )
    ]


SILENT_SAVES = {
    "everything": lambda row: row.save(),
    "a setting": lambda row: row.save(update_fields=["broker_port"]),
    "words": lambda row: row.save(update_fields=["error_message", "updated_at"]),
    "configured": lambda row: connection_configure(row, fields={"username": "u"}),
    "the same status": lambda row: change_status(row, status=row.status, detail="x"),
}


@pytest.mark.parametrize("name", SILENT_SAVES)
def test_a_save_without_a_new_status_is_silent(
    north, said, name, django_capture_on_commit_callbacks
):
    row = connection_of(north)

    with django_capture_on_commit_callbacks(execute=True):
        SILENT_SAVES[name](row)

    assert said == []


def test_a_rolled_back_status_was_never_told(
    north, said, django_capture_on_commit_callbacks
):
    from django.db import transaction

    row = running(north)
    said.clear()

    with (
        django_capture_on_commit_callbacks(execute=True),
        transaction.atomic(),
    ):
        change_status(row, status=Status.ERROR)
        transaction.set_rollback(True)

    assert said == []


def test_a_hidden_site_is_told_to_its_members_and_superusers_only(
    hidden, said, django_capture_on_commit_callbacks
):
    row = running(hidden)
    said.clear()

    with django_capture_on_commit_callbacks(execute=True):
        change_status(row, status=Status.ERROR)

    members = SiteMember.objects.filter(site=hidden).values_list("user_id", flat=True)
    [(channels, _, _)] = said
    assert set(channels) == {
        events.site_channel(hidden.pk),
        events.STATUS_FOR_SUPERUSERS,
        *(events.user_channel(user_id) for user_id in members),
    }
    assert len(members) == 2


def test_a_hidden_site_without_members_is_told_to_nobody_else(db):
    from apps.sites.services import site_create

    site: Site = site_create(name="x", visibility=Visibility.MEMBERS)

    assert broadcast.status_channels(site) == [
        events.site_channel(site.pk),
        events.STATUS_FOR_SUPERUSERS,
    ]
