"""Turns translations as people write them (.po) into what Django reads (.mo).

No msgfmt on the machine is needed, and no compiled file is committed: each process
compiles at its start what is missing or older than its source.
"""

from __future__ import annotations

import ast
import logging
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.conf import settings

log = logging.getLogger(__name__)

_MAGIC = 0x950412DE
_CONTEXT_END = "\x04"
_PLURAL_END = "\0"
_BEGINNINGS = {"#,", "#~", "msgctxt", "msgid"}


class CatalogError(Exception):
    """A .po file has a line that means nothing."""

    def __init__(self, path: Path, number: int, problem: str) -> None:
        super().__init__(f"{path}, line {number}: {problem}")


def compile_catalogs() -> list[Path]:
    """Compile the project's catalogs where needed; return the files written.

    Safe in several processes at once. A folder that cannot be written is logged, not
    raised: the pages then stay English.
    """
    written = []
    for folder in settings.LOCALE_PATHS:
        for source in sorted(Path(folder).glob("*/LC_MESSAGES/*.po")):
            target = source.with_suffix(".mo")
            if _is_fresh(target, source):
                continue
            try:
                _replace(target, mo_bytes(read_po(source)))
            except OSError as error:
                log.warning("translation not compiled path=%s: %s", target, error)
            else:
                written.append(target)
    return written


def _is_fresh(target: Path, source: Path) -> bool:
    return target.exists() and target.stat().st_mtime >= source.stat().st_mtime


def _replace(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".mo-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(0o644)  # mkstemp keeps it to its owner
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_po(path: Path) -> dict[str, str]:
    """Return the catalog as gettext keys it: context and plural joined to the id.

    Fuzzy, untranslated and obsolete entries are left out, as msgfmt does; a half
    translated plural counts as untranslated.

    Raises:
        CatalogError: the file is not a .po file.
    """
    catalog: dict[str, str] = {}
    for entry in _entries(path):
        forms = [text for name, text in sorted(entry.items()) if name[:6] == "msgstr"]
        if not forms or not all(forms) or "fuzzy" in entry.get("#,", ""):
            continue
        key = entry["msgid"]
        if "msgctxt" in entry:
            key = entry["msgctxt"] + _CONTEXT_END + key
        if "msgid_plural" in entry:
            key += _PLURAL_END + entry["msgid_plural"]
        catalog[key] = _PLURAL_END.join(forms)
    return catalog


def _entries(path: Path) -> Iterator[dict[str, str]]:
    """Yield each entry as `{"msgid": …, "msgstr": …, "msgstr[0]": …}`."""
    entry: dict[str, str] = {}
    field = ""
    for name, text in _lines(path):
        if name in _BEGINNINGS and any(key[:6] == "msgstr" for key in entry):
            yield entry
            entry = {}
        if name == "#~":  # an obsolete entry: its flags must not stick to the next
            entry = {}
        elif name:
            field = name
            entry[field] = text
        else:
            entry[field] += text
    yield entry


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield keyword and text of each line; a line that continues has no keyword.

    Comments are left out, but for flags (keyword `#,`) and obsolete lines (`#~`).
    """
    may_continue = False
    for number, raw in enumerate(path.read_text("utf-8").splitlines(), start=1):
        line = raw.strip()
        name, _, quoted = line.partition(" ")
        if name in ("#,", "#~"):
            yield name, quoted
        elif name[:3] == "msg":
            may_continue = True
            yield name, _unquoted(quoted, path, number)
        elif line[:1] == '"' and may_continue:
            yield "", _unquoted(line, path, number)
        elif line[:1] not in ("", "#"):
            raise CatalogError(path, number, f"cannot read {line[:60]!r}")


def _unquoted(quoted: str, path: Path, number: int) -> str:
    """Return the text of a C string; its escapes are Python's as well."""
    try:
        text = ast.literal_eval(quoted.strip())
    except (ValueError, SyntaxError) as error:
        raise CatalogError(path, number, "not a quoted text") from error
    if not isinstance(text, str):
        raise CatalogError(path, number, "not a quoted text")
    return text


def mo_bytes(catalog: dict[str, str]) -> bytes:
    """Return the catalog as a .mo file: two sorted tables of (length, offset), texts.

    Source: GNU gettext manual, "The Format of GNU MO Files". No hash table: Python
    does not read it.
    """
    pairs = sorted((key.encode(), text.encode()) for key, text in catalog.items())
    header = 7 * 4
    texts_at = header + 2 * 8 * len(pairs)
    keys, offset = _table((key for key, _ in pairs), texts_at)
    values, _ = _table((text for _, text in pairs), offset)
    head = struct.pack(
        "<7I", _MAGIC, 0, len(pairs), header, header + 8 * len(pairs), 0, header
    )
    texts = [*(key for key, _ in pairs), *(text for _, text in pairs)]
    return head + keys + values + b"".join(text + b"\0" for text in texts)


def _table(texts: Iterable[bytes], offset: int) -> tuple[bytes, int]:
    rows = []
    for text in texts:
        rows.append(struct.pack("<2I", len(text), offset))
        offset += len(text) + 1
    return b"".join(rows), offset
