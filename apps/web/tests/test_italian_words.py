"""Words that no template has: those of scripts, of choices, of errors, of moments."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import TextChoices
from django.utils.translation import override

from apps.core.errors import DomainError, NotConfiguredError
from apps.web.answers import words_of
from apps.web.formats import age_text, number_text
from apps.web.moments import moment_text

ROOT: Path = settings.BASE_DIR
SCRIPTS = sorted((ROOT / "apps/web/static/web/js").glob("*.js"))
# Labels that are names, the same in both languages.
NAMES = {
    "MQTT 3.1.1",
    "MQTT 5",
    "JSON",
    "datalogger",
    "gateway",
    "e-mail",
    "webhook",
    "",
}
# What a script says to a person goes through these.
SAYING = re.compile(
    r"(?:textContent|placeholder|title|ariaLabel|innerText)\s*=\s*"
    r"(?P<quote>[\"'`])(?P<words>.*?)(?P=quote)"
)
LITERAL = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"")


def choices() -> list[type[TextChoices]]:
    found = []
    for config in apps.get_app_configs():
        module = config.models_module
        if module is None or not config.name.startswith("apps."):
            continue
        found += [
            each
            for each in vars(module).values()
            if isinstance(each, type)
            and issubclass(each, TextChoices)
            and f"{each.__module__}.".startswith(f"{module.__name__}.")
        ]
    return found


def test_it_finds_the_choices():
    names = {each.__name__ for each in choices()}

    assert {"Status", "Reason", "Presence", "QuarantineReason", "AlertKind"} <= names


@pytest.mark.parametrize("each", choices(), ids=lambda each: each.__name__)
def test_every_choice_has_an_italian_label(each):
    with override("en"):
        english = {str(label) for label in each.labels}
    with override("it"):
        italian = {str(label) for label in each.labels}

    assert english & italian <= NAMES


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_has_words_of_its_own(path):
    """Two words in a row are a sentence; those come from the page's `texts`."""
    source = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
    source = re.sub(r"(?<!:)//.*|console\.\w+\(.*", "", source)

    literals = LITERAL.findall(source)
    sentences = [text for text in literals if re.match(r"[A-Z][a-z]+ [a-z]+", text)]
    said = [
        found["words"]
        for found in SAYING.finditer(source)
        if re.search(r"[A-Za-z]{2,}", re.sub(r"\$\{[^}]*\}|CSV", "", found["words"]))
    ]

    assert sentences + said == []


def test_moments_and_numbers_are_written_as_italians_write_them():
    at = datetime(2026, 9, 1, 8, 5, tzinfo=UTC)

    with override("it"):
        assert moment_text(at, "Europe/Rome") == "1 set 2026, 10:05:00 CEST"
        assert number_text(1234567.25) == "1.234.567,25"
        assert age_text(at, now=at.replace(minute=7)) == "2 min fa"
    with override("en"):
        assert moment_text(at, "Europe/Rome") == "1 Sep 2026, 10:05:00 CEST"
        assert number_text(1234567.25) == "1,234,567.25"


def test_what_a_page_says_of_an_error_is_italian():
    with override("it"):
        assert words_of(NotConfiguredError(1)) == "Questo sito non ha ancora un broker."
        assert words_of(DomainError("come viene")) == "come viene"
