"""Folds a batch into what is new about each device. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from apps.devices.identities import DeviceKey
from apps.devices.updates import DeviceNews
from apps.telemetry.facts import (
    Bad,
    DeviceStatus,
    Entry,
    Heartbeat,
    Samples,
    Unclaimed,
)

# Younger values show any device alive: none is silent for so short a time.
SURELY_LIVE_US = 1_000_000


def device_news(
    entries: Iterable[Entry],
) -> tuple[dict[DeviceKey, DeviceNews], dict[DeviceKey, DeviceNews]]:
    """Fold a batch into what is new about each gateway and datalogger, in order."""
    gateways: dict[DeviceKey, DeviceNews] = {}
    dataloggers: dict[DeviceKey, DeviceNews] = {}
    for message, fact in entries:
        if isinstance(fact, (Bad, Unclaimed)):
            continue
        device = fact.device
        site_id = message.site_id
        is_live = not message.retain
        if device.gateway is not None:
            key = DeviceKey(site_id, "", device.gateway)
            gateway = gateways.setdefault(key, DeviceNews())
            # What a gateway passes on shows that it lives; its datalogger's will
            # comes from the broker and shows nothing.
            if is_live and not device.is_gateway and type(fact) is not DeviceStatus:
                _is_alive(gateway, message.received_us)
            if device.is_gateway:
                _fold(gateway, fact, message.received_us, is_live=is_live)
                continue
        key = DeviceKey(site_id, device.type or "", device.number)
        news = dataloggers.setdefault(key, DeviceNews())
        if device.gateway is not None:
            news.gateway = device.gateway
        _fold(news, fact, message.received_us, is_live=is_live)
    return gateways, dataloggers


def _is_alive(news: DeviceNews, at_us: int) -> None:
    news.is_online, news.at_us, news.seen_us = True, at_us, at_us


def _fold(news: DeviceNews, fact: object, at_us: int, *, is_live: bool) -> None:
    if type(fact) is Heartbeat:
        told = {
            "serial_number": fact.serial,
            "label": fact.label,
            "firmware_version": fact.firmware,
            "interval_s": fact.interval_s,
            "uptime_s": fact.uptime_s,
            "rssi": fact.rssi,
            "battery": fact.battery,
        }
        news.fields.update({k: v for k, v in told.items() if v is not None})
    elif type(fact) is Samples and fact.serial:
        news.fields["serial_number"] = fact.serial
    if not is_live:
        return  # retained: what it says may be old, it never refreshes presence
    if type(fact) is Samples:
        lag_us = _lag_us(fact, at_us)
        if lag_us:
            _may_be_alive(news, at_us, lag_us)
        else:
            _is_alive(news, at_us)
    elif type(fact) is DeviceStatus and not fact.is_online:
        news.is_online, news.at_us = False, at_us  # said by the broker, not seen
    else:
        _is_alive(news, at_us)


def _lag_us(fact: Samples, at_us: int) -> int:
    """Return how old the newest value was when it came; 0 if it is surely live.

    A value without a time of its own is of now.
    """
    newest = 0
    live_us = at_us - SURELY_LIVE_US
    for _, _, _, measured_us in fact.samples:
        if measured_us is None or measured_us > live_us:
            return 0
        if measured_us > newest:  # noqa: PLR1730 (thousands a second: no call)
            newest = measured_us
    return at_us - newest if newest else 0


def _may_be_alive(news: DeviceNews, at_us: int, lag_us: int) -> None:
    """Keep the freshest of what came since the presence was last told."""
    if news.maybe_us <= news.at_us or lag_us <= news.lag_us:
        news.maybe_us, news.lag_us = at_us, lag_us
