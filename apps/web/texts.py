"""The words that the scripts need, in the language of the page."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from apps.devices.models import Presence
from apps.sites.badges import badge_for, reason_in_words
from apps.sites.models import Reason, Status
from apps.web.formats import age_strings


def script_texts() -> dict[str, Any]:
    """Return what `json_script` puts into the page for `static/web/js/texts.js`."""
    return {
        "badges": {status.value: _badge(status) for status in Status},
        "reasons": {reason.value: reason_in_words(reason) for reason in Reason},
        "presence": {presence.value: str(presence.label) for presence in Presence},
        "ages": age_strings(),
        "yours": _("your time: %(time)s"),
        "yes": _("yes"),
        "no": _("no"),
        "nextTry": _("next try in %(n)s s"),
        "tryingNow": _("trying now"),
        "announce": _("%(site)s: %(status)s"),
        "manyChanged": _("%(n)s sites changed"),
        "isBack": _("Live again"),
        "startAsked": _("Start requested: %(site)s"),
        "stopAsked": _("Stop requested: %(site)s"),
        "restartAsked": _("Restart requested: %(site)s"),
        "errors": {
            "not_configured": _("This site has no broker yet."),
            "permission": _("You may not start or stop this site."),
            "network": _(
                "The server did not answer. Look at the badge before you try again."
            ),
            "other": _("That did not work."),
        },
    }


def row_labels() -> dict[str, str]:
    """Return the fixed words of a site's row: looked up once, not once a row."""
    return {
        "start": _("Start"),
        "stop": _("Stop"),
        "restart": _("Restart"),
        "broker": _("Broker"),
        "no_broker": _("not configured"),
        "dataloggers": _("Dataloggers"),
        "last_message": _("Last message"),
        "retry": _("will try again"),
        "per_minute": _("Messages a minute"),
        "slow": _("No answer for 35 s. Is a worker running?"),
    }


def _badge(status: Status) -> dict[str, str | bool]:
    badge = badge_for(status)
    return {"text": badge.text, "tone": badge.tone, "isPulsing": badge.is_pulsing}
