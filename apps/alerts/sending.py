"""Sends what is due, channel by channel: one mail for all, one POST for each."""

from __future__ import annotations

import logging
import smtplib
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import connection, transaction
from django.utils import timezone, translation

from apps.alerts import texts, webhook
from apps.alerts.models import (
    AlertChannel,
    AlertDelivery,
    ChannelKind,
    DeliveryState,
)
from apps.alerts.texts import Mail
from apps.alerts.webhook import Envelope, NotDeliveredError
from apps.core.crypto import SecretUnreadableError

if TYPE_CHECKING:
    from django.db.models import QuerySet

log = logging.getLogger(__name__)

# After each failure; then it is given up, and said.
BACK_OFF = tuple(timedelta(seconds=s) for s in (30, 120, 600, 3_600))
BUDGET_S = 25.0  # of one run; the check starts another one every 30 s
HELD_FOR = timedelta(seconds=120)  # by whoever sends it
MOST = 1_000  # of one run

# An array is made once; with `IN` it may be read anew for each row, and its limit is no
# limit.
_CLAIM = """
UPDATE alerts_alertdelivery SET next_try_at = %s, attempts = attempts + 1
WHERE id = ANY(ARRAY(
    SELECT d.id FROM alerts_alertdelivery d
    JOIN alerts_alertchannel c ON c.id = d.channel_id AND c.is_active
    WHERE d.state = 'waiting' AND d.next_try_at <= %s
    ORDER BY d.id LIMIT %s FOR UPDATE OF d SKIP LOCKED))
RETURNING id
"""


def deliver(now: datetime) -> int:
    """Send what is due; return how many arrived."""
    _give_up_switched_off()
    started, arrived = time.monotonic(), 0
    for channel, deliveries in _by_channel(_claim(now)):
        left_s = BUDGET_S - (time.monotonic() - started)
        arrived += _deliver_to(channel, deliveries, budget_s=left_s)
    return arrived


def is_due(now: datetime) -> bool:
    return AlertDelivery.objects.filter(
        state=DeliveryState.WAITING, next_try_at__lte=now
    ).exists()


def _give_up_switched_off() -> None:
    AlertDelivery.objects.filter(
        state=DeliveryState.WAITING, channel__is_active=False
    ).update(state=DeliveryState.GIVEN_UP, error="the channel is switched off")


def _claim(now: datetime) -> list[AlertDelivery]:
    """Take what is due, so that nobody else sends it; in the order of events."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM, [now + HELD_FOR, now, MOST])
        ids = [row[0] for row in cursor.fetchall()]
    rows = AlertDelivery.objects.filter(pk__in=ids).order_by("pk")
    return list(rows.select_related("alert__site", "channel"))


def _by_channel(
    rows: list[AlertDelivery],
) -> list[tuple[AlertChannel, list[AlertDelivery]]]:
    found: dict[int, list[AlertDelivery]] = {}
    for row in rows:
        found.setdefault(row.channel_id, []).append(row)
    return [(group[0].channel, group) for group in found.values()]


def _deliver_to(
    channel: AlertChannel, deliveries: list[AlertDelivery], *, budget_s: float
) -> int:
    if budget_s <= 0:
        _hand_back(deliveries)
        return 0
    with translation.override(channel.language):
        if channel.kind == ChannelKind.EMAIL:
            return _mail_all(channel, deliveries)
        return _post_each(channel, deliveries, budget_s=budget_s)


def _mail_all(channel: AlertChannel, deliveries: list[AlertDelivery]) -> int:
    try:
        send_mail(channel, texts.digest(deliveries))
    except NotDeliveredError as error:
        _failed(deliveries, error.words)
        return 0
    _arrived(deliveries)
    return len(deliveries)


def _post_each(
    channel: AlertChannel, deliveries: list[AlertDelivery], *, budget_s: float
) -> int:
    until, arrived = time.monotonic() + budget_s, 0
    for place, delivery in enumerate(deliveries):
        if time.monotonic() >= until:
            _hand_back(deliveries[place:])
            break
        try:
            send_post(channel, texts.payload(delivery), str(delivery.pk))
        except NotDeliveredError as error:
            if error.is_away:  # so it is for the others
                _failed(deliveries[place:], error.words)
                break
            _failed([delivery], error.words)
        else:
            _arrived([delivery])
            arrived += 1
    return arrived


def send_post(channel: AlertChannel, body: bytes, delivery: str) -> None:
    """Send one message to a webhook; raises `NotDeliveredError`."""
    try:
        secret = channel.read_secret()
    except SecretUnreadableError as error:
        raise NotDeliveredError(str(error), is_away=True) from error
    webhook.post(channel.target, Envelope(body, delivery, secret))


def send_mail(channel: AlertChannel, mail: Mail) -> None:
    """Send one mail to a channel's addresses; raises `NotDeliveredError`."""
    if not settings.EMAIL_HOST:
        message = "e-mail is not configured (EMAIL_URL)"
        raise NotDeliveredError(message, is_away=True)
    message_ = EmailMessage(
        subject=mail.subject,
        body=mail.body,
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=channel.addresses,
        connection=get_connection(),
        headers={"Auto-Submitted": "auto-generated"},
    )
    try:
        message_.send()
    except smtplib.SMTPResponseException as error:
        words = f"the mail server refused ({error.smtp_code})"
        raise NotDeliveredError(words) from error
    except (OSError, smtplib.SMTPException) as error:
        words = f"the mail server cannot be used ({type(error).__name__})"
        raise NotDeliveredError(words, is_away=True) from error


def send_test(channel: AlertChannel) -> None:
    """Send a test through a channel now; raises `NotDeliveredError`."""
    with translation.override(channel.language):
        if channel.kind == ChannelKind.EMAIL:
            send_mail(channel, texts.test_mail(channel.name))
        else:
            body = texts.test_payload(channel.name)
            send_post(channel, body, f"test-{uuid4()}")


# -- the ledger ----------------------------------------------------------------


def _waiting(deliveries: Sequence[AlertDelivery]) -> QuerySet[AlertDelivery]:
    return AlertDelivery.objects.filter(
        pk__in=[one.pk for one in deliveries], state=DeliveryState.WAITING
    )


def _arrived(deliveries: Sequence[AlertDelivery]) -> None:
    _waiting(deliveries).update(
        state=DeliveryState.DELIVERED, delivered_at=timezone.now(), error=""
    )


def _failed(deliveries: Sequence[AlertDelivery], words: str) -> None:
    for attempts in {one.attempts for one in deliveries}:
        rows = [one for one in deliveries if one.attempts == attempts]
        is_last = attempts > len(BACK_OFF)
        waiting = _waiting(rows)
        if is_last:
            waiting.update(error=words[:300], state=DeliveryState.GIVEN_UP)
        else:
            again_at = timezone.now() + BACK_OFF[attempts - 1]
            waiting.update(error=words[:300], next_try_at=again_at)
        log.warning(
            "alerts not delivered channel_id=%d count=%d attempt=%d given_up=%s: %s",
            rows[0].channel_id,
            len(rows),
            attempts,
            is_last,
            words,
        )


def _hand_back(deliveries: Sequence[AlertDelivery]) -> None:
    """Leave them to the next run; they were not tried."""
    for one in deliveries:
        _waiting([one]).update(
            next_try_at=timezone.now(), attempts=max(0, one.attempts - 1)
        )
