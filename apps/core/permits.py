"""Who may listen to a stream: decided when it opens, and again while it is open.

Both times by the same read-only code. Django's own `get_user` may write to the session,
and no answer would bring the new cookie to a browser whose stream is already open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.sessions.models import Session
from django.utils.crypto import constant_time_compare
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.authentication import JWTAuthentication

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest

# Gives a user's channels of one stream, None when there is no such stream for them.
# Called for every open stream at every re-check: one query at most.
ChannelsFor = Callable[..., frozenset[str] | None]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brought. A Bearer token outweighs a session, as in the API."""

    token: bytes | None = field(repr=False)
    session_key: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to the channels of one stream, until `still_good` says otherwise."""

    credentials: Credentials
    channels_for: ChannelsFor
    arguments: tuple[Hashable, ...]
    channels: frozenset[str]


class NotAuthenticatedError(Exception):
    """Nobody, or somebody who may not log in (any more)."""


class NoSuchStreamError(Exception):
    """It does not exist, or must not for this user."""


def credentials_of(request: HttpRequest) -> Credentials:
    """Read a request's credentials; nothing is looked up yet."""
    rules = JWTAuthentication()
    header = request.headers.get("Authorization", "").encode("latin-1", "replace")
    try:
        token = rules.get_raw_token(header)
    except AuthenticationFailed:
        token = b""  # "Bearer" and nothing usable: refused, not ignored
    return Credentials(token, request.session.session_key)


def issue(
    credentials: Credentials,
    channels_for: ChannelsFor,
    arguments: tuple[Hashable, ...],
    *,
    now: datetime,
) -> Permit:
    """Return the permit for one stream.

    Raises:
        NotAuthenticatedError: the credentials are nobody's.
        NoSuchStreamError: there is no such stream for this user.
    """
    user = users_of([credentials], now=now).get(credentials)
    if user is None:
        raise NotAuthenticatedError
    channels = channels_for(user, *arguments)
    if channels is None:
        raise NoSuchStreamError
    return Permit(credentials, channels_for, arguments, channels)


def still_good(permits: Collection[Permit], *, now: datetime) -> set[Permit]:
    """Return those permits that would be issued again with the very same channels."""
    users = users_of({permit.credentials for permit in permits}, now=now)
    return {
        permit
        for permit in permits
        if (user := users.get(permit.credentials)) is not None
        and permit.channels_for(user, *permit.arguments) == permit.channels
    }


def users_of(
    asked: Collection[Credentials], *, now: datetime
) -> dict[Credentials, User]:
    """Return the active users behind credentials; those of nobody are left out.

    All sessions together take two queries (browsers come by the hundred), every token
    one (programs do not).
    """
    keys = {each.session_key for each in asked if each.token is None}
    of_session = _users_of_sessions({key for key in keys if key}, now)
    found: dict[Credentials, User] = {}
    for each in asked:
        if each.token is not None:
            user = _user_of_token(each.token)
        else:
            user = of_session.get(each.session_key or "")
        if user is not None:
            found[each] = user
    return found


def _user_of_token(token: bytes) -> User | None:
    rules = JWTAuthentication()
    try:
        return cast("User", rules.get_user(rules.get_validated_token(token)))
    except AuthenticationFailed:
        return None


def _users_of_sessions(keys: Collection[str], now: datetime) -> dict[str, User]:
    """Return users by session key, by the rules of `django.contrib.auth.get_user`."""
    if not keys:
        return {}
    rows = Session.objects.filter(session_key__in=keys, expire_date__gt=now)
    contents = {row.session_key: row.get_decoded() for row in rows}
    model = get_user_model()
    id_of = {
        key: model._meta.pk.to_python(content[SESSION_KEY])
        for key, content in contents.items()
        if SESSION_KEY in content
    }
    users = model._default_manager.filter(is_active=True).in_bulk(set(id_of.values()))
    return {
        key: users[user_id]
        for key, user_id in id_of.items()
        if user_id in users and _belongs_to(contents[key], users[user_id])
    }


def _belongs_to(content: dict[str, Any], user: User) -> bool:
    """Whether the session was made with the user's present password."""
    if content.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return False
    made_with = content.get(HASH_SESSION_KEY) or ""
    good = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(made_with, each) for each in good)
