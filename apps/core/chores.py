"""Housekeeping: each app names its chores in `chores.py`, as `CHORES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from django.apps import apps


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every hour; both functions return how many it is about.

    `do` is safe to repeat, and to run twice at once; `would` changes nothing.
    """

    name: str
    do: Callable[[], int]
    would: Callable[[], int]


def all_chores() -> list[Chore]:
    """Return the chores of all our apps, in the order of INSTALLED_APPS."""
    found: list[Chore] = []
    for config in apps.get_app_configs():
        name = f"{config.name}.chores"
        if (
            config.name.startswith("apps.")
            and config.name != "apps.core"
            and find_spec(name)
        ):
            found += import_module(name).CHORES
    return found
