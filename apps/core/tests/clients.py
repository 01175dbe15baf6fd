"""API clients of the cast, logged in the way programs do it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken


def client_of(user: User | None) -> APIClient:
    """Return a client with a Bearer token; None is the anonymous one."""
    client = APIClient()
    if user is not None:
        token = AccessToken.for_user(user)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def is_error(body: dict[str, Any]) -> bool:
    """Return whether this is the one shape of all errors."""
    return (
        set(body) == {"code", "message", "fields"}
        and bool(body["code"])
        and bool(body["message"])
        and isinstance(body["fields"], dict)
    )
