"""What people read about alerts; in the language that is active."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.alerts.models import Alert, AlertDelivery, AlertEvent, AlertKind
from apps.core.parsing import iso_z

MAX_LINES = 100  # of a digest
TEST = "test"


@dataclass(frozen=True, slots=True)
class Mail:
    subject: str
    body: str


def one_line(text: str, most: int = 200) -> str:
    """Return names as one plain line: devices choose theirs, also line breaks."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return re.sub(r"\s+", " ", plain).strip()[:most]


def sentence(alert: Alert, event: str) -> str:
    """Return one line about an alert, such as a digest's."""
    words = {
        "site": one_line(alert.site.name),
        # A gateway without a label is called "gateway 1"; so says the sentence.
        "subject": one_line(alert.subject).removeprefix("gateway "),
        "since": _at_site(alert.opened_at, alert),
    }
    if event == AlertEvent.CLOSED:
        words["until"] = _at_site(alert.closed_at or timezone.now(), alert)
        if alert.kind == AlertKind.CONNECTION:
            line = _("%(site)s: connected again at %(until)s (away since %(since)s)")
        elif alert.kind == AlertKind.GATEWAY:
            line = _(
                "%(site)s: gateway %(subject)s online again at %(until)s "
                "(offline since %(since)s)"
            )
        else:
            line = _(
                "%(site)s: datalogger %(subject)s online again at %(until)s "
                "(offline since %(since)s)"
            )
        return line % words
    if alert.kind == AlertKind.CONNECTION:
        line = _("%(site)s: not connected since %(since)s")
    elif alert.kind == AlertKind.GATEWAY:
        line = _("%(site)s: gateway %(subject)s offline since %(since)s")
    else:
        line = _("%(site)s: datalogger %(subject)s offline since %(since)s")
    return line % words + _why(alert)


def _why(alert: Alert) -> str:
    known = [alert.cause_in_words] if alert.cause else []
    if alert.detail == "flapping":
        known.append(_("it comes and goes"))
    return f" ({', '.join(known)})" if known else ""


def _at_site(moment: datetime, alert: Alert) -> str:
    local = moment.astimezone(ZoneInfo(alert.site.timezone))
    return f"{local:%Y-%m-%d %H:%M %Z}"


def digest(deliveries: Sequence[AlertDelivery]) -> Mail:
    """Return one mail about all of them."""
    lines = [sentence(one.alert, one.event) for one in deliveries]
    opened = sum(one.event == AlertEvent.OPENED for one in deliveries)
    closed = len(deliveries) - opened
    if len(lines) == 1:
        subject = lines[0]
    else:
        subject = _("Alerts: %(opened)d new, %(closed)d over") % {
            "opened": opened,
            "closed": closed,
        }
    more = len(lines) - MAX_LINES
    body = lines[:MAX_LINES]
    if more > 0:
        body.append(_("and %(n)d more; see the page of alerts") % {"n": more})
    return Mail(f"[Guardiano] {one_line(subject, 150)}", "\n".join(body) + "\n")


def test_mail(name: str) -> Mail:
    words = _("This is a test of the alert channel %(name)s.") % {
        "name": one_line(name)
    }
    return Mail("[Guardiano] " + _("Test"), words + "\n")


test_mail.__test__ = False  # type: ignore[attr-defined]  # pytest: not one of yours


def payload(delivery: AlertDelivery) -> bytes:
    """Return a webhook's body."""
    alert = delivery.alert
    return _json(
        {
            "event": delivery.event,
            "alert": {
                "id": alert.pk,
                "kind": alert.kind,
                "connection_id": alert.connection_id,
                "gateway_id": alert.gateway_id,
                "datalogger_id": alert.datalogger_id,
                "subject": alert.subject,
                "cause": alert.cause,
                "detail": alert.detail,
                "opened_at": iso_z(alert.opened_at),
                "closed_at": iso_z(alert.closed_at) if alert.closed_at else None,
                "text": sentence(alert, delivery.event),
            },
            "site": {
                "id": alert.site_id,
                "name": alert.site.name,
                "code": alert.site.code,
            },
            "at": iso_z(timezone.now()),
        }
    )


def test_payload(name: str) -> bytes:
    return _json(
        {
            "event": TEST,
            "alert": None,
            "site": None,
            "at": iso_z(timezone.now()),
            "text": test_mail(name).body.strip(),
        }
    )


test_payload.__test__ = False  # type: ignore[attr-defined]


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
