"""The health checks of docker-compose.yml: is this container doing its work?

    python docker/health.py web|flower|beat
    python docker/health.py worker NAME    answers a ping over Redis
    python docker/health.py mqtt NAME      said within 15 s that it lives

Each asks from outside what only a working process can answer, and ends with 0, or with
one line and 1. No Django: a check costs 0.1 to 0.5 s of CPU, `celery inspect ping` with
the whole project 1.1 s (measured, November 2026).
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Callable

LIMIT_S = 5
# Beat writes down what it sent every 3 minutes (celery.beat.Scheduler.sync_every).
BEAT_SILENT_S = 600


class UnhealthyError(Exception):
    """What is wrong, in one line."""


def web() -> None:
    # The settings answer only to the names they are told.
    name = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip() or "localhost"
    host = "localhost" if name == "*" else name.removeprefix(".")
    _get("/api/v1/mqtt/health/live/", port=int(os.environ["PORT"]), host=host)


def flower() -> None:
    _get("/healthcheck", port=int(os.environ["FLOWER_PORT"]), host="localhost")


def _get(path: str, *, port: int, host: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request("GET", path, headers={"Host": host})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        message = f"no answer on port {port}: {error!r}"
        raise UnhealthyError(message) from error
    finally:
        connection.close()
    if status != http.client.OK:
        message = f"{path} answered {status}"
        raise UnhealthyError(message)


def worker(name: str) -> None:
    """Ping one Celery worker: its consumer takes the command and answers."""
    from celery import Celery

    node = f"{name}@{socket.gethostname()}"
    app = Celery(broker=os.environ["REDIS_URL"])
    app.conf.broker_transport_options = {
        "socket_timeout": LIMIT_S,
        "socket_connect_timeout": LIMIT_S,
    }
    if not app.control.ping(destination=[node], timeout=LIMIT_S):
        message = f"{node} does not answer"
        raise UnhealthyError(message)


def mqtt(name: str) -> None:
    """Look for the sign of life that the worker's reporter thread renews every 5 s.

    Any of its threads that ends takes the process with it, so this one speaks for all.
    """
    import redis

    key = f"guardiano:worker:{name}@{socket.gethostname()}"
    client = redis.Redis.from_url(
        os.environ["REDIS_URL"], socket_timeout=LIMIT_S, socket_connect_timeout=LIMIT_S
    )
    if not client.exists(key):
        message = f"{key} is not there"
        raise UnhealthyError(message)


def beat() -> None:
    """Look whether the schedule's most frequent entry ran lately."""
    import psycopg2

    connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=LIMIT_S)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(last_run_at) > now() - make_interval(secs => %s) "
            "FROM django_celery_beat_periodictask WHERE enabled",
            [BEAT_SILENT_S],
        )
        row = cursor.fetchone()
    connection.close()
    if not row or not row[0]:
        message = f"nothing was sent in the last {BEAT_SILENT_S} s"
        raise UnhealthyError(message)


CHECKS: dict[str, Callable[..., None]] = {
    "web": web,
    "flower": flower,
    "beat": beat,
    "worker": worker,
    "mqtt": mqtt,
}


def main(arguments: list[str]) -> int:
    try:
        CHECKS[arguments[0]](*arguments[1:])
    except Exception as error:  # noqa: BLE001 (whatever it is, it is not healthy)
        sys.stdout.write(f"{type(error).__name__}: {error}".splitlines()[0] + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
