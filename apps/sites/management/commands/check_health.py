"""manage.py check_health: the health in one line of JSON, and an exit code."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from apps.sites.health import readiness
from apps.sites.models import Status
from apps.sites.overview import HEALTHY, UNHEALTHY, UNKNOWN, overview

HEALTH_PATH = "/api/v1/mqtt/health/"
LIMIT_S = 10
MAX_ANSWER = 100_000


class Command(BaseCommand):
    help = (
        "Print the system's health as one line of JSON: database, Redis, leases, the "
        "last reconcile, connections. Exit code 0: healthy. 1: unhealthy. "
        "2: cannot tell."
    )
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--url",
            help="ask a running web process instead, such as https://name "
            f"(without a path: {HEALTH_PATH})",
        )

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        code, health = _ask(options["url"]) if options["url"] else _look()
        self.stdout.write(json.dumps(health))
        if code:
            self.stdout.flush()
            sys.exit(code)


def _look() -> tuple[int, dict[str, Any]]:
    ready = readiness()
    if not ready["database"]:
        return UNKNOWN, {"status": "unknown", **ready}
    try:
        found = overview()
    except Error as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        return UNKNOWN, {"status": "unknown", **ready, "error": words}
    enabled = [one for one in found.connections if one.is_enabled]
    healthy = sum(one.status == Status.CONNECTED for one in enabled)
    code = HEALTHY if all(ready.values()) else UNHEALTHY
    code = max(code, found.exit_code)
    age = found.reconcile_age_s
    return code, {
        "status": "unhealthy" if code else "healthy",
        **ready,
        "leases": {
            "alive": sum(lease.is_alive for lease in found.leases),
            "wanted": len(found.leases),
        },
        "reconcile_age_seconds": None if age is None else round(age, 1),
        "connections": {
            "total": len(found.connections),
            "enabled": len(enabled),
            "healthy": healthy,
            "unhealthy": len(enabled) - healthy,
        },
        "troubles": list(found.troubles),
        "warnings": list(found.warnings),
    }


def _ask(url: str) -> tuple[int, dict[str, Any]]:
    """Return what a web process says of the system."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        message = f"--url {url!r} is not a URL"
        raise CommandError(message, returncode=UNKNOWN) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = f"--url {url!r} is not a URL of the form https://name"
        raise CommandError(message, returncode=UNKNOWN)
    kind = (
        http.client.HTTPSConnection
        if parts.scheme == "https"
        else http.client.HTTPConnection
    )
    path = parts.path if parts.path not in ("", "/") else HEALTH_PATH
    connection = kind(parts.hostname, port, timeout=LIMIT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = json.loads(answer.read(MAX_ANSWER))
    except (OSError, http.client.HTTPException, ValueError) as error:
        words = f"no answer to understand: {type(error).__name__}"
        return UNKNOWN, {"status": "unknown", "url": url, "error": words}
    finally:
        connection.close()
    if not isinstance(said, dict) or said.get("status") not in ("healthy", "unhealthy"):
        words = f"HTTP {answer.status} without a health in it"
        return UNKNOWN, {"status": "unknown", "url": url, "error": words}
    return HEALTHY if said["status"] == "healthy" else UNHEALTHY, said
