"""An overview as text: aligned columns, plain words. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime

from apps.sites.models import Status
from apps.sites.overview import Lease, Overview, Worker
from apps.sites.selectors import ConnectionStatus

WIDEST = 32  # of a column; longer texts are cut

_CONNECTIONS = (
    "SITE",
    "CODE",
    "STATUS",
    "REASON",
    "SINCE",
    "RETRY",
    "OWNER",
    "LAST MESSAGE",
    ">RECEIVED",
    ">STORED",
    ">DUP",
    ">QUARANT",
    ">DROPPED",
    ">IN FLIGHT",
)

Line = tuple[str, bool]  # a line, and whether it tells of trouble


def lines(overview: Overview, *, now: datetime) -> Iterator[Line]:
    """Yield the lines of all tables; a column that begins with > is right-aligned."""
    yield from table(
        _CONNECTIONS,
        [_connection(one, now=now) for one in overview.connections],
        [
            one.is_enabled and one.status != Status.CONNECTED
            for one in overview.connections
        ],
        empty="no connections",
    )
    yield "", False
    if overview.workers is not None:
        yield from table(
            ("WORKER", "SHARDS", "ALIVE", ">INBOX", ">DISK"),
            [_worker(one) for one in overview.workers],
            [not one.is_alive for one in overview.workers],
            empty="no worker has spoken in the last hour",
        )
        yield "", False
    yield from table(
        (">SHARD", "OWNER", ">EPOCH", ">AGE"),
        [_lease(one) for one in overview.leases],
        [not one.is_alive for one in overview.leases],
        empty="no leases",
    )
    yield "", False
    for warning in overview.warnings:
        yield f"warning: {warning}", True
    if overview.reconcile_age_s is not None:
        yield f"reconcile ran {overview.reconcile_age_s:.0f} s ago", False
    for trouble in overview.troubles:
        yield f"trouble: {trouble}", True
    if not overview.troubles:
        yield "healthy", False


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    troubled: Sequence[bool],
    *,
    empty: str,
) -> Iterator[Line]:
    """Yield a header and a line for each row, every column as wide as it must be."""
    if not rows:
        yield f"({empty})", True
        return
    names = [head.removeprefix(">") for head in heads]
    cells = [[_plain(cell) for cell in row] for row in rows]
    widths = [
        max(_width(row[place]) for row in [names, *cells])
        for place in range(len(heads))
    ]
    for row, is_troubled in zip([names, *cells], [False, *troubled], strict=True):
        parts = [
            _padded(cell, width, is_right=head.startswith(">"))
            for cell, width, head in zip(row, widths, heads, strict=True)
        ]
        yield "  ".join(parts).rstrip(), is_troubled


def _connection(one: ConnectionStatus, *, now: datetime) -> list[str]:
    status = one.status
    if not one.is_enabled and status == Status.DISCONNECTED:
        status = "stopped"
    names = ("received", "stored", "duplicate", "quarantined", "dropped", "in_flight")
    return [
        one.site_name,
        one.site_code,
        status,
        one.reason or "-",
        ago(one.status_changed_at, now),
        f"in {span((one.next_retry_at - now).total_seconds())}"
        if one.next_retry_at
        else "-",
        node_of(one.owner) or "-",
        f"{ago(one.last_message_at, now)} ago" if one.last_message_at else "-",
        *(f"{one.counters.get(name, 0):,}" for name in names),
    ]


def _worker(one: Worker) -> list[str]:
    shards = ",".join(str(shard) for shard in one.shards)
    standby = "standby" if one.is_alive else "-"
    counts = ["-" if n is None else f"{n:,}" for n in (one.inbox, one.spooled)]
    return [one.node, shards or standby, "yes" if one.is_alive else "NO", *counts]


def _lease(one: Lease) -> list[str]:
    owner = node_of(one.owner) if one.is_alive else "nobody"
    age = span(one.age_s) if one.is_alive else "-"
    return [str(one.shard), owner, str(one.epoch), age]


def node_of(owner: str) -> str:
    """Return the Celery node of an owner, which goes on with machine and process."""
    return owner.partition("/")[0]


def ago(moment: datetime | None, now: datetime) -> str:
    return "-" if moment is None else span((now - moment).total_seconds())


def span(seconds: float) -> str:
    """Return a length of time in at most two units: 45s, 3m12s, 2h05m, 4d07h."""
    whole = max(0, int(seconds))
    if whole < 60:  # noqa: PLR2004 (of a minute)
        return f"{whole}s"
    if whole < 3_600:  # noqa: PLR2004
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:  # noqa: PLR2004
        return f"{whole // 3_600}h{whole % 3_600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600:02}h"


def _plain(text: str) -> str:
    """Return a text that moves no cursor: names are people's and devices' choice."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= WIDEST else plain[: WIDEST - 1] + "…"


def _width(text: str) -> int:
    return sum(_cells(sign) for sign in text)


def _cells(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _padded(text: str, width: int, *, is_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if is_right else text + space
