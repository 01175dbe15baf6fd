"""The words of charts and commands that the scripts need."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from apps.devices.models import OfflineCause
from apps.sites.models import CommandReason, CommandState
from apps.web.ranges import figure_names, interval_names
from apps.web.texts import script_texts


def device_texts() -> dict[str, Any]:
    """Return `script_texts` and what the pages of devices add to them."""
    return script_texts() | {
        "causes": {cause.value: str(cause.label) for cause in OfflineCause},
        "chart": _chart(),
        "commands": _commands(),
        "again": _("Try again"),
        "saved": _("Saved"),
        "notSaved": _("Not saved"),
    }


def _chart() -> dict[str, Any]:
    return {
        "intervals": interval_names(),
        "figures": figure_names(),
        "loading": _("Loading…"),
        "empty": _("No reading in this time."),
        "noSensor": _("Choose a sensor above to see its history."),
        "failed": _("The readings could not be loaded."),
        "noNumbers": _("In this time it said texts only; the table has them."),
        "everyReading": _("every reading"),
        "each": _("values of %(interval)s each"),
        "tooMany": _("Too many readings for every one: values of %(interval)s each."),
        "mostSensors": _("At most %(n)s sensors at a time."),
        "summary": _("%(name)s: lowest %(low)s, highest %(high)s, last %(last)s"),
        "newest": _("The newest %(n)s of %(total)s; the file has all of them."),
        "from": _("From"),
        "until": _("To"),
        "stillSaid": _("until now"),
        "at": _("Time"),
        "value": _("Value"),
    }


def _commands() -> dict[str, Any]:
    return {
        "states": {state.value: str(state.label) for state in CommandState},
        "reasons": {reason.value: str(reason.label) for reason in CommandReason},
        "sending": _("Sending…"),
        "confirmed": _("The broker has it, after %(ms)s ms."),
        "waiting": _("Waiting for the device's answer…"),
        "answered": _("The device answered: %(reply)s"),
        "unknown": _(
            "The server did not answer. Look at the list before you send it again."
        ),
    }
