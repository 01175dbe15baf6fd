"""History from CSV: what the export writes, or a column a sensor.

Long: columns at, key, value (others are ignored). Wide: at and a column for each sensor
key; an empty cell is no reading. Times are ISO 8601, in the site's zone where they name
none, or seconds to nanoseconds since 1970. A value that reads as a number is one, any
other is a text.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import IO, NamedTuple
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils.translation import gettext as _

from apps.core.errors import DomainError
from apps.devices.identities import DeviceIds, ensure_sensors
from apps.devices.models import Datalogger, SensorDevice
from apps.telemetry import partitions
from apps.telemetry.pieces import moment_of
from apps.telemetry.protocols.times import BadTimeError, device_time_us
from apps.telemetry.rollups import MINUTE_US, mark_due
from apps.telemetry.storing import Row, insert_readings, move_current

MAX_NEW_SENSORS = 1_000
MAX_PROBLEMS = 20  # are told; who has more has one mistake everywhere
MAX_KEY_CHARS = 128
MAX_TEXT_BYTES = 2_000  # as in messages: a text is part of the readings' index
MAX_LINE_CHARS = 100_000
MAX_DIGITS = 20  # nanoseconds since 1970 have 19
CHUNK = 5_000  # readings of a statement
_LONG = {"at", "key", "value"}


class Sample(NamedTuple):
    key: str
    at_us: int
    value: float | None
    text: str | None


class ImportRefusedError(DomainError):
    """The file has lines that cannot be stored; nothing of it was."""

    code = "import_refused"
    status = 400

    def __init__(self, problems: dict[int, str]) -> None:
        first = min(problems)
        super().__init__(
            _("Line %(line)d: %(problem)s; nothing was stored")
            % {"line": first, "problem": problems[first]}
        )
        self.fields = {f"line {line}": [text] for line, text in problems.items()}


class _BadLineError(ValueError):
    """One line's problem, for people."""


@dataclass(slots=True)
class Imported:
    """What became of a file; `rows` are its values."""

    rows: int = 0
    stored: int = 0
    duplicates: int = 0
    sensors_created: int = 0


def read_samples(lines: Iterable[str], zone: str) -> Iterator[list[Sample]]:
    """Yield the samples of a file in chunks; raise once all of it has been looked at.

    Args:
        lines: the file's lines, the header first.
        zone: of times that name none.

    Raises:
        ImportRefusedError: some lines cannot be stored; up to 20 are named.
    """
    problems: dict[int, str] = {}
    chunk: list[Sample] = []
    for samples in _lines_read(lines, zone, problems):
        chunk += samples
        if len(chunk) >= CHUNK:
            if not problems:
                yield chunk
            chunk = []
    if problems:
        raise ImportRefusedError(problems)
    if chunk:
        yield chunk


def _lines_read(
    lines: Iterable[str], zone: str, problems: dict[int, str]
) -> Iterator[list[Sample]]:
    """Yield each line's samples, noting the problems by line; 20 end it."""
    reader = csv.reader(_bounded(lines), strict=True)
    try:
        columns = _columns([name.strip() for name in next(reader, [])])
        parse = _Parser(columns, ZoneInfo(zone))
        for row in reader:
            try:
                yield parse(row)
            except _BadLineError as error:
                problems[reader.line_num] = str(error)
                if len(problems) == MAX_PROBLEMS:
                    return
    except (csv.Error, _BadLineError, UnicodeDecodeError) as error:
        problems[max(reader.line_num, 1)] = _said(error)


def _said(error: Exception) -> str:
    return _("the file is not UTF-8") if isinstance(error, UnicodeError) else str(error)


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    for place, line in enumerate(lines):
        if len(line) > MAX_LINE_CHARS:
            raise _BadLineError(_("the line is too long"))
        if "\0" in line:
            raise _BadLineError(_("the line holds NUL"))
        yield line.removeprefix("\ufeff") if place == 0 else line


def _columns(header: Sequence[str]) -> dict[int, str]:
    """Return the name of each column that counts."""
    if "at" not in header:
        raise _BadLineError(
            _("the first line names the columns: at,key,value or at and the sensors")
        )
    names = dict(enumerate(header))
    if set(header) >= _LONG:
        names = {place: name for place, name in names.items() if name in _LONG}
    if len(set(names.values())) != len(names):
        raise _BadLineError(_("a column is there twice"))
    for name in names.values():
        _check_key(name)
    if len(names) == 1:
        raise _BadLineError(_("there is no column but at"))
    return names


def _check_key(key: str) -> str:
    if not 0 < len(key) <= MAX_KEY_CHARS:
        raise _BadLineError(
            _("sensor key '%(key)s': use 1 to %(most)d characters")
            % {"key": key[:40], "most": MAX_KEY_CHARS}
        )
    return key


class _Parser:
    """Makes samples of a row."""

    def __init__(self, columns: dict[int, str], zone: ZoneInfo) -> None:
        self._place_of = {name: place for place, name in columns.items()}
        self._is_long = set(self._place_of) == _LONG
        self._zone = zone
        self._now_us = int(time.time() * 1e6)

    def __call__(self, row: Sequence[str]) -> list[Sample]:
        if not row:
            return []  # an empty line
        if len(row) <= max(self._place_of.values()):
            raise _BadLineError(_("the line has too few columns"))
        at_us = self._time(row[self._place_of["at"]].strip())
        if self._is_long:
            key = _check_key(row[self._place_of["key"]].strip())
            cells = [(key, row[self._place_of["value"]])]
        else:
            cells = [
                (name, row[place])
                for name, place in self._place_of.items()
                if name != "at"
            ]
        return [
            Sample(key, at_us, *_value(cell)) for key, cell in cells if cell.strip()
        ]

    def _time(self, text: str) -> int:
        try:
            at_us = device_time_us(_epoch(text), self._now_us, self._zone)
        except BadTimeError:
            raise _BadLineError(
                _("'%s' is no time; use ISO 8601 or seconds since 1970") % text[:40]
            ) from None
        if at_us is None:
            raise _BadLineError(
                _("the time '%s' is before 2000 or in the future") % text[:40]
            )
        return at_us


def _epoch(text: str) -> int | float | str:
    """Return a number as such, nanoseconds to the last one; any other text as it is."""
    if text.isascii() and text.isdecimal() and len(text) < MAX_DIGITS:
        return int(text)
    number = _number(text)
    return text if number is None or not math.isfinite(number) else number


def _number(text: str) -> float | None:
    """Return the number that a text says; Python's own `1_000` is a text."""
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _value(text: str) -> tuple[float | None, str | None]:
    number = _number(text)
    if number is None:
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise _BadLineError(_("a text is over %d bytes") % MAX_TEXT_BYTES)
        return None, text
    if not math.isfinite(number):
        raise _BadLineError(_("'%s' is not a finite number") % text[:40])
    return number, None


class Importer:
    """Stores samples as readings of a datalogger; its presence is left alone."""

    def __init__(self, datalogger: Datalogger) -> None:
        self._datalogger_id = datalogger.pk
        self._ids: dict[str, int] = dict(
            SensorDevice.objects.filter(datalogger=datalogger).values_list("key", "pk")
        )
        self.result = Imported()

    def check(self, chunks: Iterable[Sequence[Sample]]) -> int:
        """Look at a whole file before anything of it is stored; return its values.

        The partitions of its days are made now, in transactions of their own: they
        are locked while that lasts.

        Raises:
            ImportRefusedError: a line, or all of them together, cannot be stored.
        """
        days: set[date] = set()
        new: set[str] = set()
        count = 0
        for samples in chunks:
            count += len(samples)
            days |= {moment_of(s.at_us // MINUTE_US).date() for s in samples}
            new |= {sample.key for sample in samples} - self._ids.keys()
            if len(new) > MAX_NEW_SENSORS:
                problem = _("over %d sensors that are not there yet") % MAX_NEW_SENSORS
                raise ImportRefusedError({1: problem})
        first, last = partitions.window(partitions.today())
        partitions.ensure(day for day in days if first <= day <= last)
        return count

    def store(self, samples: Sequence[Sample]) -> None:
        """Store a chunk that was checked, in the caller's transaction."""
        self._make_sensors({sample.key for sample in samples} - self._ids.keys())
        # Each row has a time of receipt of its own: by that it knows its like again.
        received_us = int(time.time() * 1e6) - len(samples)
        rows: list[Row] = [
            (
                self._ids[sample.key],
                sample.at_us,
                received_us + place,
                sample.value,
                sample.text,
                0,
                place,
            )
            for place, sample in enumerate(samples)
        ]
        duplicates = len(insert_readings(rows))
        move_current(rows)
        mark_due(rows)
        self.result.rows += len(rows)
        self.result.duplicates += duplicates
        self.result.stored += len(rows) - duplicates

    def _make_sensors(self, keys: set[str]) -> None:
        if not keys:
            return
        self.result.sensors_created += len(keys)
        ids = DeviceIds()
        ensure_sensors(ids, ((self._datalogger_id, key) for key in keys))
        self._ids.update({key: pk for (_, key), pk in ids.sensors.items()})


def import_bytes(datalogger: Datalogger, content: bytes) -> Imported:
    """Store a whole file, or nothing of it.

    Raises:
        ImportRefusedError: some lines cannot be stored.
    """

    def chunks() -> Iterator[list[Sample]]:
        return read_samples(open_lines(io.BytesIO(content)), datalogger.site.timezone)

    importer = Importer(datalogger)
    importer.check(chunks())
    with transaction.atomic():
        for chunk in chunks():
            importer.store(chunk)
    return importer.result


def open_lines(file: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8", newline="")
