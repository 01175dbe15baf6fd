"""manage.py load_demo: registers the demo's sites and devices; safe to repeat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from apps.core.crypto import SecretUnreadableError
from apps.devices.models import Datalogger, Gateway, SensorDevice
from apps.sites.models import MqttConnection, Site
from apps.sites.services import (
    connection_configure,
    connection_of,
    connection_start,
    site_create,
)
from project import env
from project.broker_url import BrokerUrl, BrokerUrlError
from project.demo import DEMO_SITES, DataloggerSpec, SiteSpec

Row = TypeVar("Row", bound=models.Model)


class Command(BaseCommand):
    help = "Register the demo's three sites, connected to MQTT_URL, with their devices."

    def handle(self, **_: Any) -> None:  # noqa: ANN401 (Django's own)
        broker = _broker()
        for spec in DEMO_SITES:
            self.stdout.write(load_site(spec, broker))


def _broker() -> BrokerUrl:
    try:
        return BrokerUrl.parse(env.secret("MQTT_URL"))
    except (BrokerUrlError, ImproperlyConfigured) as error:
        message = f"load_demo needs MQTT_URL: {error}"
        raise CommandError(message) from error


def load_site(spec: SiteSpec, broker: BrokerUrl) -> str:
    """Bring one demo site in; return what happened, for people.

    A site that a user stopped, renamed or relabelled stays so; only the broker follows
    MQTT_URL. A site that merely has the same code is somebody else's: left alone.
    """
    with transaction.atomic():
        site = Site.objects.filter(code=spec.code).first()
        if site is not None and not _is_demo(site, spec):
            return f"demo: {spec.code} is taken by '{site.name}'; left alone"
        is_new = site is None
        if site is None:
            site = site_create(
                name=spec.name,
                code=spec.code,
                timezone=spec.timezone,
                latitude=spec.latitude,
                longitude=spec.longitude,
            )
        connection = connection_of(site)
        is_moved = _follow_broker(connection, broker)
        if is_new:
            connection_start(site)
        _register_devices(site, spec)
    done = "created" if is_new else ("broker changed" if is_moved else "unchanged")
    return f"demo: {spec.code} {site.name}: {done}"


def _is_demo(site: Site, spec: SiteSpec) -> bool:
    """Names get edited, and codes are given in turn: the place tells the demo's own."""
    return (site.latitude, site.longitude) == (spec.latitude, spec.longitude)


def _follow_broker(connection: MqttConnection, broker: BrokerUrl) -> bool:
    """Apply what differs from MQTT_URL; return whether anything did."""
    wanted = {
        "broker_host": broker.host,
        "broker_port": broker.port,
        "username": broker.username,
        "use_tls": broker.use_tls,
    }
    fields = {n: v for n, v in wanted.items() if getattr(connection, n) != v}
    has_password = _password_of(connection) == broker.password
    if not fields and has_password:
        return False
    connection_configure(
        connection, fields=fields, password=None if has_password else broker.password
    )
    return True


def _password_of(connection: MqttConnection) -> str | None:
    try:
        return connection.read_password()
    except SecretUnreadableError:
        return None  # the key was changed: store it anew


def _register_devices(site: Site, spec: SiteSpec) -> None:
    gateways = _ensure(
        (
            Gateway(
                site=site,
                number=item.number,
                label=item.label,
                serial_number=item.serial,
            )
            for item in spec.gateways
        ),
        key=("site_id", "number"),
        words=("label", "serial_number"),
    )
    by_number = {gateway.number: gateway for gateway in gateways}
    dataloggers = _ensure(
        (
            Datalogger(
                site=site,
                type=item.type,
                number=item.number,
                gateway=by_number[item.gateway] if item.gateway else None,
                label=item.label,
                serial_number=item.serial,
            )
            for item in spec.dataloggers
        ),
        key=("site_id", "type", "number"),
        words=("label", "serial_number"),
    )
    specs = {(item.type, item.number): item for item in spec.dataloggers}
    _ensure(
        (
            sensor
            for datalogger in dataloggers
            for sensor in _sensors(
                datalogger, specs[datalogger.type, datalogger.number]
            )
        ),
        key=("datalogger_id", "key"),
        words=("label", "sensor_type", "unit_of_measure"),
    )


def _sensors(datalogger: Datalogger, spec: DataloggerSpec) -> list[SensorDevice]:
    return [
        SensorDevice(
            datalogger=datalogger,
            key=sensor.key,
            label=sensor.label,
            sensor_type=sensor.type,
            unit_of_measure=sensor.unit,
        )
        for sensor in spec.sensors
    ]


def _ensure(
    rows: Iterable[Row], *, key: tuple[str, ...], words: tuple[str, ...]
) -> list[Row]:
    """Return the stored rows, inserting the missing ones.

    The ingest may have met a device first, without words: only blanks are filled, so
    that what a user wrote stays.
    """
    wanted = {_values(row, key): row for row in rows}
    if not wanted:
        return []
    manager = type(next(iter(wanted.values())))._default_manager
    parents = {values[0] for values in wanted}

    def stored() -> dict[tuple[object, ...], Row]:
        found = manager.filter(**{f"{key[0]}__in": parents})
        return {_values(row, key): row for row in found}

    known = stored()
    missing = [row for values, row in wanted.items() if values not in known]
    if missing:
        manager.bulk_create(missing, ignore_conflicts=True)
        known = stored()
    blank = [
        known[values]
        for values in wanted
        if _fill(known[values], wanted[values], words)
    ]
    manager.bulk_update(blank, words)
    return [known[values] for values in wanted]


def _values(row: models.Model, names: Iterable[str]) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in names)


def _fill(row: models.Model, wanted: models.Model, words: Iterable[str]) -> bool:
    """Copy the words that the row lacks; return whether there were any."""
    lacking = [n for n in words if not getattr(row, n) and getattr(wanted, n)]
    for name in lacking:
        setattr(row, name, getattr(wanted, name))
    return bool(lacking)
