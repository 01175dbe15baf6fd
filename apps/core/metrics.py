"""`GET /metrics`: what all processes together do, for Prometheus.

The apps give the collectors, `project.urls` puts them together. Each is told whether
Redis answers; what only the database knows is served without it.
"""

from __future__ import annotations

import logging
import platform
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication

from apps.core import vitals
from apps.core.api import error_body
from apps.core.permissions import is_superuser
from apps.core.redis import RedisError
from apps.core.vitals import Vitals

if TYPE_CHECKING:
    from django.http import HttpRequest

log = logging.getLogger(__name__)

PREFIX = "guardiano_"

Collector = Callable[[bool], Iterable[Metric]]


def gauge(
    name: str, text: str, labels: Sequence[str] = (), value: float | None = None
) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=value, labels=labels or None)


def metrics_view(
    collectors: Sequence[Collector],
) -> Callable[[HttpRequest], HttpResponse]:
    """Return the view that serves what these collectors know."""

    @require_safe
    def metrics(request: HttpRequest) -> HttpResponse:
        refusal = _refusal(request)
        if refusal is not None:
            return refusal
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(list(_collect(collectors))))
        body = generate_latest(registry)
        return HttpResponse(body, content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return metrics


class _Once:
    """What was collected, in the shape that the registry asks for."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


# -- who may look --------------------------------------------------------------


def _refusal(request: HttpRequest) -> HttpResponse | None:
    scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
    wanted = settings.METRICS_TOKEN
    if wanted and scheme.lower() == "bearer":
        # Bytes: compare_digest refuses text that is not ASCII.
        if secrets.compare_digest(given.strip().encode(), wanted.encode()):
            return None
    elif not wanted and not scheme and _is_from_here(request):
        return None
    try:
        user = _user_of(request)
    except (DatabaseError, InterfaceError):
        words = _("The database does not answer; try again")
        return JsonResponse(error_body("unavailable", words), status=503)
    if user is not None and is_superuser(user):
        return None
    if user is not None and user.is_authenticated:
        words = _("Metrics are for superusers and for who has METRICS_TOKEN")
        return JsonResponse(error_body("permission_denied", words), status=403)
    words = _("Metrics need METRICS_TOKEN or a superuser's token")
    answer = JsonResponse(error_body("not_authenticated", words), status=401)
    answer["WWW-Authenticate"] = "Bearer"
    return answer


def _user_of(request: HttpRequest):  # type: ignore[no-untyped-def]  # noqa: ANN202 (a user of either kind)
    try:
        found = JWTAuthentication().authenticate(Request(request))
    except APIException:
        return None
    return found[0] if found else request.user


def _is_from_here(request: HttpRequest) -> bool:
    """Return whether a process of this machine asks, and no proxy for another one.

    A proxy on this machine that adds no header at all cannot be told from a process:
    behind one, set METRICS_TOKEN or do not pass /metrics on.
    """
    if any(
        name.startswith(("HTTP_X_FORWARDED", "HTTP_FORWARDED"))
        or name in ("HTTP_VIA", "HTTP_X_REAL_IP")
        for name in request.META
    ):
        return False
    try:
        address = ip_address(str(request.META.get("REMOTE_ADDR", "")))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


# -- what there is to see ------------------------------------------------------


def _collect(collectors: Sequence[Collector]) -> Iterator[Metric]:
    yield InfoMetricFamily(
        PREFIX + "build",
        "Version of the code.",
        {
            "version": settings.VERSION,
            "python": platform.python_version(),
            "instance": settings.MQTT_INSTANCE_ID,
        },
    )
    try:
        processes = vitals.load()
        redis_up = True
    except RedisError:
        processes, redis_up = [], False
    yield gauge("redis_up", "1 while Redis answers.", value=int(redis_up))
    if redis_up:
        yield from _of_processes(processes)
    database_up = True
    for collector in collectors:
        try:
            found = list(collector(redis_up))
        except (DatabaseError, InterfaceError) as error:
            log.warning("metrics without the database: %s", type(error).__name__)
            database_up = False
            break  # each of the others would wait for its time limit
        yield from found
    yield gauge("database_up", "1 while PostgreSQL answers.", value=int(database_up))


def _of_processes(processes: list[Vitals]) -> Iterator[Metric]:
    workers = [one for one in processes if one.kind == vitals.WORKER]
    webs = [one for one in processes if one.kind == vitals.WEB and one.is_alive]

    alive = gauge(
        "worker_alive", "1 while an MQTT worker says that it lives.", ["node"]
    )
    for worker in workers:
        alive.add_metric([worker.node], int(worker.is_alive))
    yield alive
    living = [worker for worker in workers if worker.is_alive]
    yield from _of_workers(living)

    clients = gauge("sse_clients", "Open event streams of a web process.", ["node"])
    for web in webs:
        clients.add_metric([web.node], float(web.said.get("sse_clients", 0)))
    yield clients


def _of_workers(workers: list[Vitals]) -> Iterator[Metric]:
    started = gauge("worker_start_time_seconds", "When a worker started.", ["node"])
    messages = gauge("inbox_messages", "Received and not stored yet.", ["node"])
    size = gauge("inbox_bytes", "Memory that these take.", ["node"])
    spools = _of_spools(workers)
    drops = Metric(
        PREFIX + "connection_drops",
        "Connections that were up and broke, by reason, since the worker's start.",
        "counter",
    )
    commits = HistogramMetricFamily(
        PREFIX + "batch_commit_seconds",
        "Time to store a batch of messages, up to its commit.",
        labels=["node"],
    )
    for worker in workers:
        said, node = worker.said, worker.node
        started.add_metric([node], float(said.get("started_at", 0)))
        messages.add_metric([node], float(said.get("inbox_messages", 0)))
        size.add_metric([node], float(said.get("inbox_bytes", 0)))
        for reason, count in sorted(said.get("drops", {}).items()):
            labels = {"node": node, "reason": str(reason)}
            drops.add_sample(PREFIX + "connection_drops_total", labels, float(count))
        if "commits" in said:
            commits.add_metric([node], *_histogram(said["commits"]))
    yield from (started, messages, size, *spools, drops, commits)


def _of_spools(workers: list[Vitals]) -> Iterator[Metric]:
    """Yield what workers keep on disk while PostgreSQL is away."""
    for name, key, text in (
        ("spool_messages", "messages", "Acknowledged, on disk, not in PostgreSQL yet."),
        ("spool_bytes", "bytes", "Topics and payloads of these."),
        ("spool_oldest_seconds", "oldest_s", "Age of the oldest of these; 0: none."),
        ("spool_full", "full", "1 while a worker has no room for more on its disk."),
        ("spool_damaged_files", "damaged", "Set aside since the worker's start."),
    ):
        metric = gauge(name, text, ["node"])
        for worker in workers:
            metric.add_metric([worker.node], float(_spool(worker).get(key, 0)))
        yield metric
    for name, key, text in (
        ("spool_kept", "kept", "Messages put on disk, since the worker's start."),
        ("spool_drained", "drained", "Messages stored from disk, likewise."),
    ):
        counted = Metric(PREFIX + name, text, "counter")
        for worker in workers:
            counted.add_sample(
                f"{PREFIX}{name}_total",
                {"node": worker.node},
                float(_spool(worker).get(key, 0)),
            )
        yield counted


def _spool(worker: Vitals) -> dict[str, float]:
    return dict(worker.said.get("spool", {}))


def _histogram(
    commits: dict[str, list[float]],
) -> tuple[list[tuple[str, float]], float]:
    """Return cumulative buckets with their upper bounds, and the sum."""
    total, buckets = 0.0, []
    bounds = [*(repr(float(bound)) for bound in commits["bounds"]), "+Inf"]
    for bound, count in zip(bounds, commits["counts"], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets, float(commits["sum"][0])
