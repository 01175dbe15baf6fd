"""Turns decoded messages into rows of readings: ids by name, times where none is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from apps.devices import identities
from apps.devices.identities import DeviceIds, DeviceKey
from apps.telemetry.facts import DeviceRef, Entry, Samples
from apps.telemetry.models import ReadingFlag
from apps.telemetry.storing import Row

_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNTIMED = ReadingFlag.RECEIPT_TIME.value


def reading_rows(
    entries: Sequence[Entry], ids: DeviceIds
) -> tuple[list[Row], list[Row]]:
    """Return the readings for the history, and those for current values only.

    The dataloggers' ids are known; sensors that are new are made.
    """
    try:
        return _known_rows(entries, ids)
    except KeyError:  # a sensor appears for the first time
        identities.ensure_sensors(
            ids,
            {
                (datalogger_id(ids, message.site_id, fact), sample.key)
                for message, fact in entries
                if type(fact) is Samples
                for sample in fact.samples
            },
        )
        return _known_rows(entries, ids)


def datalogger_id(ids: DeviceIds, site_id: int, fact: Samples) -> int:
    _, type_, number = fact.device
    return ids.dataloggers[DeviceKey(site_id, type_ or "", number)]


def _known_rows(
    entries: Sequence[Entry], ids: DeviceIds
) -> tuple[list[Row], list[Row]]:
    sensors = ids.sensors
    loggers: dict[tuple[int, DeviceRef], int] = {}
    history: list[Row] = []
    retained: list[Row] = []
    for index, (message, fact) in enumerate(entries):
        if type(fact) is not Samples:
            continue
        who = message.site_id, fact.device
        logger = loggers.get(who)
        if logger is None:
            logger = loggers[who] = datalogger_id(ids, message.site_id, fact)
        received_us = message.received_us
        untimed: dict[str, int] = {}
        for key, value, text, measured_us in fact.samples:
            sensor = sensors[logger, key]
            if measured_us is not None:
                history.append(
                    (sensor, measured_us, received_us, value, text, 0, index)
                )
                continue
            # One message may hold several untimed values of a sensor: each keeps
            # a time of its own.
            untimed[key] = untimed.get(key, -1) + 1
            at_us = received_us + untimed[key]
            row = (sensor, at_us, received_us, value, text, _UNTIMED, index)
            # A retained message comes again at every subscribe.
            (retained if message.retain else history).append(row)
    return history, retained


def descriptions(
    entries: Iterable[Entry], ids: DeviceIds
) -> dict[tuple[int, str], tuple[str, str, str]]:
    """Return what messages say about sensors, by datalogger and key."""
    return {
        (datalogger_id(ids, message.site_id, fact), key): info
        for message, fact in entries
        if type(fact) is Samples and fact.sensors
        for key, info in fact.sensors.items()
    }


def days_of(entries: Iterable[Entry]) -> set[int]:
    """Return the days, counted from 1970, into which readings may fall."""
    days: set[int] = set()
    for message, fact in entries:
        days.add(message.received_us // _DAY_US)
        if type(fact) is Samples:
            for _, _, _, measured_us in fact.samples:
                if measured_us is not None:
                    days.add(measured_us // _DAY_US)
    return days


def dates(days: Iterable[int]) -> set[date]:
    return {(_EPOCH + timedelta(days=day)).date() for day in days}
