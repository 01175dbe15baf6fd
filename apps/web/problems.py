"""What the API's own checks say about a form, by field. One set of rules for both."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer

from apps.core.api import exception_handler

Problems = dict[str, list[str]]


def problems_of(form: Serializer[Any]) -> Problems:
    """Return problems by name, such as `values.0.key`; empty if there are none."""
    try:
        form.is_valid(raise_exception=True)
    except ValidationError as error:
        response = exception_handler(error, {})
        return dict(response.data["fields"]) if response is not None else {}
    return {}


def under(problems: Problems, name: str) -> list[str]:
    """Return the problems of a field and of all that is in it."""
    return [
        problem
        for key, found in problems.items()
        if key == name or key.startswith(f"{name}.")
        for problem in found
    ]
