"""The fixed cast of every test: four people, an open site and a hidden one."""

from __future__ import annotations

import os

import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import translation
from pytest_django.fixtures import Settings

from apps.sites.models import MemberRole, Site, SiteMember, Visibility
from apps.sites.services import site_create
from embedded.ports import keep_to_share
from project.celery import app

# Each of several pytest processes (xdist) has its own database, Redis number
# and ports.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if _worker:
    _index = int(_worker.removeprefix("gw"))
    keep_to_share(_index, int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    _server, _, _number = settings.REDIS_URL.rpartition("/")
    _own = f"{_server}/{int(_number or 0) + 1 + _index}"
    os.environ["REDIS_URL"] = settings.REDIS_URL = app.conf.broker_url = _own

# A machine under load is no bug, and a test run leaves nothing in the tree.
hypothesis.settings.register_profile("guardiano", deadline=None, database=None)
hypothesis.settings.load_profile("guardiano")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of the whole system: they wait most, and for longest."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/"))


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Settings) -> None:
    """The real hasher is slow on purpose: a second for each user of the cast."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _assets_when_asked_for(settings: Settings) -> None:
    """Every client would look through all of the assets: 40 ms of most tests."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def _in_english() -> None:
    """Django's client leaves the language of its last request behind."""
    translation.deactivate()


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("superuser", password="pw-superuser-1")


@pytest.fixture
def operator(db: None) -> User:
    """A member of both sites who may start and stop."""
    return User.objects.create_user("operator", password="pw-operator-1")


@pytest.fixture
def viewer(db: None) -> User:
    """A member of both sites who may only look."""
    return User.objects.create_user("viewer", password="pw-viewer-1")


@pytest.fixture
def outsider(db: None) -> User:
    """A user who is logged in and a member of nothing."""
    return User.objects.create_user("outsider", password="pw-outsider-1")


@pytest.fixture
def north(operator: User, viewer: User) -> Site:
    """A site that every user may see."""
    return _site_with_members("North", Visibility.ALL_USERS, operator, viewer)


@pytest.fixture
def hidden(operator: User, viewer: User) -> Site:
    """A site that exists for its members and superusers only."""
    return _site_with_members("Hidden", Visibility.MEMBERS, operator, viewer)


def _site_with_members(
    name: str, visibility: Visibility, operator: User, viewer: User
) -> Site:
    site = site_create(name=name, visibility=visibility)
    SiteMember.objects.create(site=site, user=operator, role=MemberRole.OPERATOR)
    SiteMember.objects.create(site=site, user=viewer, role=MemberRole.VIEWER)
    return site
