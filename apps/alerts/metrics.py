"""Open alerts and undelivered news, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count
from prometheus_client.core import Metric

from apps.alerts.models import Alert, AlertDelivery, AlertKind, DeliveryState
from apps.core.metrics import gauge


def collect(redis_up: bool) -> Iterator[Metric]:
    rows = Alert.objects.filter(closed_at=None, confirmed_at__isnull=False)
    counted = rows.order_by().values("kind").annotate(count=Count("pk"))
    counts = dict(counted.values_list("kind", "count"))
    metric = gauge("alerts_open", "Open alerts by kind.", ["kind"])
    for kind in AlertKind.values:
        metric.add_metric([kind], counts.get(kind, 0))
    yield metric
    waiting = AlertDelivery.objects.filter(state=DeliveryState.WAITING)
    yield gauge(
        "alert_deliveries_waiting",
        "News of alerts that did not arrive yet.",
        value=waiting.count(),
    )
