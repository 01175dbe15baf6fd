r"""Where a value lies in a payload: `$`, `$.a.b`, `$.list[0]['any name']`.

`$` is the whole payload, `.name` or `['any name']` a member (quoted either way, with
`\\` and `\'` inside the quotes), `[0]` an item of a list. No wildcards, no filters.
"""

from __future__ import annotations

import re
from typing import Final

MAX_PATH_CHARS = 500
MAX_DEPTH = 32
MAX_INDEX = 99_999

Path = tuple["str | int", ...]

_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]'"\s]+)"""
    r"""|\[(?P<index>[0-9]{1,5})\]"""
    r"""|\['(?P<single>(?:[^'\\]|\\['"\\])*)'\]"""
    r"""|\["(?P<double>(?:[^"\\]|\\['"\\])*)"\]"""
)
_ESCAPE = re.compile(r"""\\(['"\\])""")


class PathError(ValueError):
    """The text is no path, from this place on (counted from 0)."""

    def __init__(self, message: str, place: int = 0) -> None:
        super().__init__(message)
        self.place = place


class Missing:
    """Nothing lies there."""


MISSING: Final = Missing()


def parse(text: str) -> Path:
    """Return the steps of a path.

    Raises:
        PathError: says what is wrong, and where.
    """
    if len(text) > MAX_PATH_CHARS:
        message = f"a path has at most {MAX_PATH_CHARS} characters"
        raise PathError(message)
    if not text.startswith("$"):
        message = "a path begins with $, as in $.values.temperature"
        raise PathError(message)
    if "\0" in text:
        message = "a path holds no NUL"
        raise PathError(message)
    steps: list[str | int] = []
    place = 1
    while place < len(text):
        found = _STEP.match(text, place)
        if found is None:
            message = (
                f"not understood from character {place + 1} on: {text[place:][:40]!r}; "
                "use .name, ['any name'] or [0]"
            )
            raise PathError(message, place)
        steps.append(_step(found))
        place = found.end()
    if len(steps) > MAX_DEPTH:
        message = f"a path goes at most {MAX_DEPTH} levels deep"
        raise PathError(message)
    return tuple(steps)


def _step(found: re.Match[str]) -> str | int:
    name, index, single, double = found.group("name", "index", "single", "double")
    if index is not None:
        return int(index)
    if name is not None:
        return str(name)
    return _ESCAPE.sub(r"\1", double if single is None else single)


def look(body: object, path: Path) -> object:
    """Return what lies there, MISSING if nothing does."""
    for step in path:
        if type(step) is int:
            if not isinstance(body, list) or step >= len(body):
                return MISSING
            body = body[step]
        elif isinstance(body, dict) and step in body:
            body = body[step]
        else:
            return MISSING
    return body
