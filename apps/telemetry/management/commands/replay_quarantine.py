"""manage.py replay_quarantine: read quarantined messages again, by today's rules."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from apps.sites.models import Site
from apps.telemetry.models import QuarantineReason
from apps.telemetry.replay import Replayed, replay, waiting

MAX_ID = 2**63 - 1
MAX_IDS = 10_000


def _id(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_ID:
        message = "is no id"
        raise argparse.ArgumentTypeError(message)
    return value


class Command(BaseCommand):
    help = (
        "Reads the messages in the quarantine again, after a mapping was made or a "
        "decoder put right, and stores what can be understood now, once. Readings keep "
        "the times they had; no device's presence changes."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--site", metavar="ID|CODE", help="one site; without it all of them"
        )
        parser.add_argument(
            "--reason",
            choices=QuarantineReason.values,
            help="only what is quarantined for this reason",
        )
        parser.add_argument(
            "--ids", nargs="+", type=_id, metavar="ID", help="only these messages"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="count, and store nothing"
        )

    def handle(self, **options: Any) -> None:  # noqa: ANN401 (Django's own)
        ids: list[int] | None = options["ids"]
        if ids is not None and len(ids) > MAX_IDS:
            message = f"--ids: at most {MAX_IDS} at once"
            raise CommandError(message)
        reason: str = options["reason"] or ""
        sites = _sites(options["site"])
        total = sum(waiting(site.pk, ids=ids, reason=reason).count() for site in sites)
        bar = _Bar(self, total)
        result = Replayed()
        for site in sites:
            of_site = ids
            if ids is not None:  # each belongs to one site; the others do not skip it
                found = waiting(site.pk, ids=ids).values_list("pk", flat=True)
                of_site = list(found)
            result.add(
                replay(
                    site,
                    ids=of_site,
                    reason=reason,
                    is_dry_run=options["dry_run"],
                    progress=bar.advance,
                )
            )
        bar.end()
        if ids is not None:
            done = result.replayed + result.still_quarantined
            result.skipped = len(set(ids)) - done
        words = "would be replayed" if options["dry_run"] else "replayed"
        self.stdout.write(
            f"{result.replayed} {words}, {result.still_quarantined} still quarantined, "
            f"{result.skipped} skipped"
        )


def _sites(name: str | None) -> list[Site]:
    if not name:
        return list(Site.objects.order_by("pk"))
    chosen = Q(code=name)
    if name.isascii() and name.isdecimal() and int(name) <= MAX_ID:
        chosen |= Q(pk=int(name))
    sites = list(Site.objects.filter(chosen))
    if not sites:
        message = f"--site: there is no site {name!r}"
        raise CommandError(message)
    if len(sites) > 1:
        message = f"--site: {name!r} is one site's id and another's code"
        raise CommandError(message)
    return sites


class _Bar:
    """A line that says how far it is; silent where nobody looks."""

    def __init__(self, command: BaseCommand, total: int) -> None:
        self._out = command.stderr
        self._total = total
        self._done = 0
        self._is_seen = bool(total) and self._out.isatty()

    def advance(self, count: int) -> None:
        self._done += count
        if self._is_seen:
            share = min(1.0, self._done / self._total)
            filled = "#" * round(share * 30)
            line = f"\r[{filled:<30}] {self._done}/{self._total}"
            self._out.write(line, self._out.style_func, ending="")
            self._out.flush()

    def end(self) -> None:
        if self._is_seen:
            self._out.write("")
