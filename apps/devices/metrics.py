"""Devices by presence, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count
from prometheus_client.core import Metric

from apps.core.metrics import gauge
from apps.devices.models import Datalogger, Gateway, Presence


def collect(redis_up: bool) -> Iterator[Metric]:
    metric = gauge("devices", "Devices by presence.", ["kind", "presence"])
    for kind, model in (("gateway", Gateway), ("datalogger", Datalogger)):
        rows = model.objects.order_by().values("presence").annotate(count=Count("pk"))
        counts = dict(rows.values_list("presence", "count"))
        for presence in Presence.values:
            metric.add_metric([kind, presence], counts.get(presence, 0))
    yield metric
