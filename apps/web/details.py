"""What workers and decoders said, in the reader's language.

They write English into the database: nobody knows yet who will read it. Their sentences
are few, so each is known here by its fixed words; what is between them stays as it
came. A sentence that is not known (of an operating system, or a broker) stays whole.
"""

from __future__ import annotations

import re
from functools import cache

from django.utils.translation import get_language, gettext, gettext_noop

# `said` may be another sentence of these.
_MESSAGES = (
    gettext_noop("version %(version)s is not known"),
    gettext_noop("neither the mapping nor the topic names a datalogger"),
    gettext_noop("%(size)s bytes, at most %(most)s"),
    gettext_noop("%(name)s is not a text of at most %(most)s characters"),
    gettext_noop("%(name)s is scaled, but a text came"),
    gettext_noop("value of %(name)s is too large once it is scaled"),
    gettext_noop("value of %(name)s is neither a number, a boolean nor text"),
    gettext_noop("value of %(name)s is not a finite number"),
    gettext_noop("text of %(name)s holds NUL or is over %(most)s bytes"),
    gettext_noop("sensor key %(name)s: 1 to %(most)s characters, no NUL"),
    gettext_noop("ts is not finite"),
    gettext_noop("ts %(text)s is not ISO 8601"),
    gettext_noop("ts is %(type)s; use a number or ISO 8601"),
    gettext_noop("%(name)s is not a finite number"),
    gettext_noop("a heartbeat is a JSON object or empty"),
    gettext_noop("a status is online or offline"),
    gettext_noop("none of the mapping's values is there"),
    gettext_noop("neither JSON nor text: not UTF-8 at byte %(place)s"),
    gettext_noop("not UTF-8 at byte %(place)s"),
    gettext_noop("holds NUL"),
    gettext_noop("expected %(shape)s or a list of such objects"),
    gettext_noop("expected %(shape)s or a list of those"),
    gettext_noop("over %(most)s values in one message"),
    gettext_noop("over %(most)s readings in one message"),
    gettext_noop("a reading is a JSON object"),
)
_CONNECTIONS = (
    gettext_noop("The broker refused us: %(said)s"),
    gettext_noop("The broker does not take our settings: %(said)s"),
    gettext_noop("The broker ended the secure connection: %(said)s"),
    gettext_noop("The broker did not answer in time"),
    gettext_noop(
        "The broker closed the connection before answering; the usual cause is a wrong "
        "user name or password, or a TLS port"
    ),
    gettext_noop("The host name cannot be resolved: %(said)s"),
    gettext_noop("The broker's certificate is refused: %(said)s"),
    gettext_noop("The host hung up when asked for TLS; perhaps this port has none"),
    gettext_noop("No secure connection: %(said)s"),
    gettext_noop("The host did not finish the TLS handshake in time"),
    gettext_noop("The host did not answer in time"),
    gettext_noop("The host does not take the connection: %(said)s"),
    gettext_noop("The settings cannot be used: %(said)s"),
    gettext_noop("The broker did not confirm a subscription"),
    gettext_noop("The broker refused: %(said)s"),
    gettext_noop("Closed by us: %(said)s"),
    gettext_noop("The broker has been silent for too long"),
    gettext_noop("Connection lost (the broker said %(code)s)"),
    gettext_noop("Connection lost"),
    gettext_noop(
        "Another client connects as %(name)s and takes our session; waiting %(n)s s"
    ),
    gettext_noop("Too many messages at once; catching up"),
    gettext_noop("The worker was frozen and connects anew"),
    gettext_noop("Somebody else may use our session by now; it is left alone"),
    gettext_noop(
        "The broker sends %(count)s of %(all)s topics at a lower QoS than asked, so "
        "what comes while the link is broken may be lost: %(topics)s"
    ),
    gettext_noop("No broker host is set"),
    gettext_noop("The time zone %(zone)s is not known here"),
    gettext_noop("The broker did not answer; it may keep our session"),
    gettext_noop("The broker could not be reached; it may keep our session"),
    gettext_noop("The broker refused to end our session: %(said)s"),
    gettext_noop("The broker closed before our session was ended"),
)
_SESSIONS = (
    gettext_noop("The connection to the broker was lost"),
    gettext_noop("The connection to the broker was closed before an answer"),
    gettext_noop("The connection was stopped"),
    gettext_noop("Another worker took over the site"),
    gettext_noop("The worker was stopped"),
    gettext_noop("Ended early, after %(n)s messages"),
    gettext_noop("Ended early, after %(n)s topics"),
)
_COMMANDS = (
    gettext_noop("It was down"),
    gettext_noop("The site's code is %(code)s now"),
    gettext_noop("The worker was too slow"),
    gettext_noop("%(n)s messages wait for the broker"),
    gettext_noop("It found no room on the link"),
    gettext_noop("The connection was lost before the PUBACK"),
    gettext_noop("No PUBACK within %(n)s s"),
    gettext_noop("The worker stopped before the PUBACK"),
    gettext_noop("The worker was stopping"),
    gettext_noop("The worker ended before it heard from the broker"),
)
# What the JSON parser (orjson) says, with its place in the payload.
_JSON = (
    gettext_noop("Input is a zero-length, empty document"),
    gettext_noop("unexpected end of data"),
    gettext_noop("trailing comma is not allowed"),
    gettext_noop("unexpected character, expected ':' after key"),
    gettext_noop("unexpected character, expected a string key"),
    gettext_noop("unexpected character, expected a JSON value"),
    gettext_noop("unexpected control character in string"),
    gettext_noop("unexpected content after document"),
    gettext_noop("invalid escaped sequence in string"),
    gettext_noop("no low surrogate in string"),
    gettext_noop("number with leading zero is not allowed"),
    gettext_noop("depth limit exceeded"),
    gettext_noop("number is infinity when parsed as double"),
    gettext_noop("str is not valid UTF-8: surrogates not allowed"),
    gettext_noop("%(said)s: line %(line)s column %(column)s (char %(place)s)"),
)
# What brokers answer, in the words of the library that reads them.
_ANSWERS = (
    gettext_noop("Not authorized"),
    gettext_noop("Bad user name or password"),
    gettext_noop("Client identifier not valid"),
    gettext_noop("Server unavailable"),
    gettext_noop("Server busy"),
    gettext_noop("Banned"),
    gettext_noop("Unsupported protocol version"),
    gettext_noop("Quota exceeded"),
    gettext_noop("Unspecified error"),
    gettext_noop("No matching subscribers"),
)
OURS = _MESSAGES + _CONNECTIONS + _SESSIONS + _COMMANDS
SENTENCES = OURS + _JSON + _ANSWERS

_PLACE = re.compile(r"%\((\w+)\)s")


def in_words(detail: str) -> str:
    """Return a detail in the language that is active now, as far as it is known."""
    if not detail or (get_language() or "en").startswith("en"):
        return detail
    for pattern, sentence in _patterns():
        found = pattern.fullmatch(detail)
        if found:
            parts = found.groupdict()
            if "said" in parts:
                parts["said"] = in_words(parts["said"])
            return gettext(sentence) % parts
    return detail


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return what to look for; a sentence without places goes before the others."""
    found = [(_pattern_of(sentence), sentence) for sentence in SENTENCES]
    return tuple(sorted(found, key=lambda pair: pair[1].count("%(")))


def _pattern_of(sentence: str) -> re.Pattern[str]:
    parts = _PLACE.split(sentence)  # text, name, text, name, text
    for place, part in enumerate(parts):
        parts[place] = f"(?P<{part}>.+?)" if place % 2 else re.escape(part)
    return re.compile("".join(parts), re.DOTALL)
