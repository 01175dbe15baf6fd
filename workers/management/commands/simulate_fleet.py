"""manage.py simulate_fleet: devices that really publish over MQTT, until stopped."""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import secrets
import signal
import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from project.broker_url import BrokerUrl, BrokerUrlError
from project.demo import DEMO_SITES
from workers.fleet.crew import (
    Crew,
    Pace,
    crews_of,
    data_every_s,
    gateways_for,
    mass_crews,
)
from workers.fleet.engine import Engine, Limits
from workers.fleet.foreign import foreign_crews
from workers.fleet.link import LinkOptions
from workers.fleet.tally import Progress, Tally

log = logging.getLogger(__name__)

DEMO_INTERVAL_S, MASS_INTERVAL_S = 30, 60
DEMO_MALFORMED = 0.003  # one every few minutes, so that the quarantine is not empty
TTY_EVERY_S, LOG_EVERY_S = 2.0, 30.0


def _refuse(problem: str) -> NoReturn:
    raise argparse.ArgumentTypeError(problem)


def _above_zero(text: str) -> int:
    value = int(text)
    if value < 1:
        _refuse("must be 1 or more")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        _refuse("must be more than 0")
    return value


def _rate(text: str) -> float:
    """Return messages/s; 0 stands for "max"."""
    return 0.0 if text == "max" else _positive(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        _refuse("must be from 0 to 1")
    return value


class Command(BaseCommand):
    help = "Publish over MQTT what real gateways and dataloggers would."
    requires_system_checks = []  # needs no database, and must start fast

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument_group("broker").add_argument
        add("--url", help="mqtt://user:password@host:port; default: MQTT_URL")
        add("--host", help="instead of --url")
        add("--port", type=_above_zero, default=1883)
        add("--username", default="")
        add("--password-env", metavar="NAME", help="variable that holds the password")
        add("--protocol", choices=["3.1.1", "5"], default="3.1.1")
        add("--window", type=_above_zero, default=2000, help="QoS 1 messages in flight")
        add = parser.add_argument_group("devices").add_argument
        add("--demo", action="store_true", help="the demo's sites and devices")
        add("--sites", type=_above_zero, default=1, metavar="N")
        add("--site-prefix", default="site_", help="codes are PREFIX001, PREFIX002 …")
        add("--codes", help="the sites' codes, with commas; instead of --sites")
        add("--devices", type=_above_zero, default=10, help="dataloggers per site")
        add("--sensors", type=_above_zero, default=2, help="per datalogger")
        add("--seed", type=int, default=1, help="same seed, same behaviour")
        add = parser.add_argument_group("messages").add_argument
        add(
            "--rate",
            type=_rate,
            help="messages/s in all, or max: as fast as the broker takes them "
            "(default with --messages; else each datalogger sends every 5 s)",
        )
        add("--messages", type=_above_zero, help="stop after so many (statuses extra)")
        add("--duration", type=_positive, metavar="S", help="stop after S seconds")
        add("--qos", type=int, choices=[0, 1], default=1)
        add("--interval", type=int, metavar="S", help="heartbeat promise; 0: none")
        add("--malformed", type=_share, metavar="SHARE", help="of the data messages")
        add = parser.add_argument_group("output").add_argument
        add("--quiet", action="store_true", help="no progress")
        add("--json", action="store_true", help="end with one JSON object on stdout")

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        link_options = LinkOptions(
            broker=_broker(options),
            protocol=options["protocol"],
            window=options["window"],
            run=secrets.token_hex(3),
        )
        crews = _crews(options)
        _allow_sockets(len(crews))
        engine = Engine(
            crews,
            link_options,
            limits=Limits(options["messages"], options["duration"]),
            progress=None if options["quiet"] else self._progress(),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _signal, _frame: engine.stop())
        devices = sum(len(crew.slots) for crew in crews)
        log.info(
            "fleet of %d devices on %d connections to %s",
            devices,
            len(crews),
            link_options.broker,
        )
        tally = engine.run()
        if sys.stderr.isatty() and not options["quiet"]:
            self.stderr.write("")  # ends the progress line
        self._report(tally, as_json=options["json"])
        if options["messages"] and not engine.is_stopping:
            _check_all_acknowledged(tally)

    def _progress(self) -> Progress:
        if not sys.stderr.isatty():
            return Progress(LOG_EVERY_S, lambda line: log.info("fleet: %s", line))
        return Progress(
            TTY_EVERY_S,
            lambda line: self.stderr.write(f"\r\x1b[2K{line}", str, ""),
        )

    def _report(self, tally: Tally, *, as_json: bool) -> None:
        summary = tally.summary()
        if as_json:
            self.stdout.write(json.dumps(summary))
            return
        self.stdout.write(
            f"{summary['published']} messages published, {summary['acked']} "
            f"acknowledged, in {summary['seconds']} s ({summary['rate']}/s)"
        )


def _broker(options: dict[str, Any]) -> BrokerUrl:
    if options["host"]:
        if options["url"]:
            message = "Give --url or --host, not both"
            raise CommandError(message)
        password_name = options["password_env"]
        if password_name and password_name not in os.environ:
            message = f"--password-env: the variable {password_name} is not set"
            raise CommandError(message)
        password = os.environ[password_name] if password_name else ""
        return BrokerUrl(
            options["host"], options["port"], options["username"], password
        )
    url = options["url"] or os.environ.get("MQTT_URL", "")
    if not url:
        message = "No broker: set MQTT_URL, or give --url or --host"
        raise CommandError(message)
    try:
        return BrokerUrl.parse(url)
    except BrokerUrlError as error:
        raise CommandError(str(error)) from error


def _crews(options: dict[str, Any]) -> list[Crew]:
    is_demo = options["demo"]
    if is_demo and (options["codes"] or options["rate"] is not None):
        message = "--demo has its own sites and pace; leave out --codes and --rate"
        raise CommandError(message)
    interval_s, malformed = options["interval"], options["malformed"]
    if interval_s is None:
        interval_s = DEMO_INTERVAL_S if is_demo else MASS_INTERVAL_S
    if interval_s < 0:
        message = f"--interval {interval_s} is less than 0"
        raise CommandError(message)
    if malformed is None:
        malformed = DEMO_MALFORMED if is_demo else 0.0
    pace = Pace(interval_s=interval_s, qos=options["qos"], malformed=malformed)
    if is_demo:
        seed = options["seed"]
        return [
            *crews_of(DEMO_SITES, pace, seed=seed),
            *foreign_crews(DEMO_SITES, seed=seed),
        ]
    codes = _codes(options)
    return mass_crews(
        codes,
        devices=options["devices"],
        sensors=options["sensors"],
        pace=_mass_pace(pace, options, sites=len(codes)),
        seed=options["seed"],
    )


def _codes(options: dict[str, Any]) -> list[str]:
    if options["codes"] is None:
        prefix = options["site_prefix"]
        return [f"{prefix}{n:03d}" for n in range(1, options["sites"] + 1)]
    codes = [code.strip() for code in options["codes"].split(",") if code.strip()]
    if not codes:
        message = "--codes holds no code"
        raise CommandError(message)
    return codes


def _mass_pace(pace: Pace, options: dict[str, Any], *, sites: int) -> Pace:
    rate = options["rate"]
    if rate is None and options["messages"]:
        rate = 0.0
    if rate is None:
        return pace
    every_s = 0.0
    if rate:
        devices = options["devices"]
        try:
            every_s = data_every_s(
                rate=rate,
                devices=sites * devices,
                gateways=sites * gateways_for(devices),
                interval_s=pace.interval_s,
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
    return Pace(every_s, pace.interval_s, pace.qos, pace.malformed)


def _allow_sockets(links: int) -> None:
    """Raise the limit of open files as far as this user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = links + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            log.warning("%d connections wanted, but only %d files allowed", links, most)


def _check_all_acknowledged(tally: Tally) -> None:
    missing = tally.awaited - tally.acked.total()
    if missing:
        message = f"{missing} messages were not acknowledged by the broker"
        raise CommandError(message)
