"""Connections, leases and message counters, for Prometheus. No label but a site's id.

Message counters live in the database and only grow. A total over all sites would fall
when one is deleted, which Prometheus takes for a restart: so they come by site, and
whoever wants the total sums the rates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, Metric

from apps.core.metrics import PREFIX, gauge
from apps.core.redis import RedisError
from apps.sites import leases, pulse
from apps.sites.models import ConnectionStats, Status, SuspectedGap
from apps.sites.selectors import COUNTERS
from apps.sites.standings import Standing, standings

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

    from apps.sites.leases import LeaseState

MOST_SITES = 1_000  # with series of their own; further ones share the label "others"
OTHERS = "others"


def collect(redis_up: bool) -> Iterator[Metric]:
    lease_of = leases.states()
    found = standings(lease_of, use_redis=redis_up)
    labels = site_labels([one.site_id for one in found])
    yield _statuses(found)
    yield gauge(
        "connections_enabled",
        "Connections that people want.",
        value=sum(one.is_enabled for one in found),
    )
    yield _last_messages(found, labels)
    yield from _message_counters(labels)
    yield _in_flight(found, labels)
    yield _gaps(labels)
    yield _leases(lease_of)
    if redis_up:
        yield from _reconcile_age()


def site_labels(site_ids: list[int]) -> dict[int, str]:
    """Return each site's label: its id, for the first thousand."""
    return {
        site_id: str(site_id) if place < MOST_SITES else OTHERS
        for place, site_id in enumerate(sorted(site_ids))
    }


def _statuses(found: list[Standing]) -> GaugeMetricFamily:
    """Count what the badges say."""
    counts = Counter(one.status for one in found)
    metric = gauge("connections", "Connections by status.", ["status"])
    for status in Status.values:
        metric.add_metric([status], counts.get(status, 0))
    return metric


def _last_messages(
    found: list[Standing], labels: Mapping[int, str]
) -> GaugeMetricFamily:
    now = timezone.now()
    ages: dict[str, float] = {}
    for one in found:
        if one.is_enabled and one.last_message_at:
            age = max(0.0, (now - one.last_message_at).total_seconds())
            label = labels[one.site_id]
            ages[label] = max(age, ages.get(label, 0.0))
    metric = gauge(
        "last_message_age_seconds",
        "Since the last message of an enabled connection.",
        ["site"],
    )
    for label, age in ages.items():
        metric.add_metric([label], age)
    return metric


def _message_counters(labels: Mapping[int, str]) -> Iterator[Metric]:
    sums: dict[str, Counter[str]] = {}
    rows = ConnectionStats.objects.values_list(
        "connection__site_id", *COUNTERS, "topics_dropped"
    )
    for site_id, *numbers in rows.order_by("connection__site_id"):
        names = (*COUNTERS, "topics_dropped")
        known = sums.setdefault(labels.get(site_id, OTHERS), Counter())
        known.update(dict(zip(names, numbers, strict=True)))
    for name in COUNTERS:
        metric = CounterMetricFamily(
            f"{PREFIX}messages_{name}",
            f"Messages {name}, since the connection was made.",
            labels=["site"],
        )
        for label, counts in sums.items():
            metric.add_metric([label], counts[name])
        yield metric
    unexplained = gauge(
        "messages_unexplained",
        "Received, and neither stored, duplicate, quarantined nor dropped: a fault.",
        ["site"],
    )
    for label, counts in sums.items():
        became = sum(counts[name] for name in COUNTERS if name != "received")
        unexplained.add_metric([label], counts["received"] - became)
    yield unexplained
    discovered = CounterMetricFamily(
        f"{PREFIX}discovered_topics_dropped",
        "Discovered topics that had to make room.",
        labels=["site"],
    )
    for label, counts in sums.items():
        discovered.add_metric([label], counts["topics_dropped"])
    yield discovered


def _in_flight(found: list[Standing], labels: Mapping[int, str]) -> GaugeMetricFamily:
    """Of connections whose worker reports; these are in no counter yet."""
    sums: Counter[str] = Counter()
    for one in found:
        sums[labels[one.site_id]] += one.in_flight
    metric = gauge(
        "messages_in_flight", "Messages received and not stored yet.", ["site"]
    )
    for label, count in sums.items():
        metric.add_metric([label], count)
    return metric


def _gaps(labels: Mapping[int, str]) -> GaugeMetricFamily:
    """A gauge, since old gaps are thrown away."""
    sums: Counter[str] = Counter()
    rows = SuspectedGap.objects.values_list("connection__site_id")
    for site_id, count in rows.annotate(models.Count("pk")).order_by():
        sums[labels.get(site_id, OTHERS)] += count
    metric = gauge(
        "suspected_gaps", "Times in which messages may have been missed.", ["site"]
    )
    for label, count in sums.items():
        metric.add_metric([label], count)
    return metric


def _leases(lease_of: Mapping[int, LeaseState]) -> GaugeMetricFamily:
    metric = gauge("shard_lease_alive", "1 while a worker owns the shard.", ["shard"])
    for shard in range(settings.MQTT_SHARDS):
        lease = lease_of.get(shard)
        metric.add_metric([str(shard)], int(lease is not None and lease.is_alive))
    return metric


def _reconcile_age() -> Iterator[Metric]:
    try:
        age = pulse.age_s()
    except RedisError:
        return  # it went away in this very scrape; the next one says so
    if age is not None:
        yield gauge("reconcile_age_seconds", "Since the reconcile last ran.", value=age)
