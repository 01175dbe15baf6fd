"""Nothing that people see stays English when Italian is chosen."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone
from django.utils.translation.template import templatize

from apps.core.translations import read_po
from apps.sites.models import ConnectionEvent, MqttConnection, Reason, Status
from apps.web.tests.conftest import make_devices
from apps.web.tests.pages import page_of

ROOT: Path = settings.BASE_DIR
CATALOG = ROOT / "locale/it/LC_MESSAGES/django.po"
FUNCTIONS = {"_", "gettext", "gettext_lazy", "gettext_noop", "pgettext", "ngettext"}
# Names and technical words that no language changes.
SAME_WORDS = {"Guardiano", "API", "MQTT", "QoS", "PUBACK", "dBm", "EN", "IT", "%"}


def source_files(suffix: str) -> list[Path]:
    rooms = ("apps", "project", "workers")
    found = [path for room in rooms for path in (ROOT / room).rglob(f"*{suffix}")]
    return [path for path in found if "tests" not in path.parts]


def messages_of_python(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in FUNCTIONS:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and argument.value:
                    found.add(str(argument.value))
    return found


def messages_of_template(path: Path) -> set[str]:
    source = templatize(path.read_text("utf-8"))
    calls = re.findall(r"_\(u?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\)", source)
    calls += re.findall(
        r"gettext\(u?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\)", source
    )
    return {ast.literal_eval(text) for text in calls}


def test_it_finds_the_messages_of_the_source():
    views = messages_of_python(ROOT / "apps/web/views.py")
    page = messages_of_template(ROOT / "apps/web/templates/web/sites.html")

    assert "Start requested: %(site)s" in views
    assert "No site fits the filter." in page
    assert "%(connected)s of %(total)s connected" in page


def test_it_translates_every_message_of_the_source():
    catalog = read_po(CATALOG)
    wanted = {m for path in source_files(".py") for m in messages_of_python(path)}
    wanted |= {m for path in source_files(".html") for m in messages_of_template(path)}

    assert sorted(wanted - set(catalog)) == []


def test_it_keeps_every_placeholder_of_a_message():
    places = re.compile(r"%\(\w+\)s|%[sd]|\{\w+\}")

    wrong = [
        key
        for key, text in read_po(CATALOG).items()
        if key and sorted(places.findall(key)) != sorted(places.findall(text))
    ]

    assert wrong == []


class Words(HTMLParser):
    """The words of a template that stand outside of any translation."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data):
        self.found += re.findall(r"[^\W\d_]{2,}|%", data)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("title", "placeholder", "alt", "aria-label"):
                self.handle_data(value or "")


@pytest.mark.parametrize(
    "path", [p for p in source_files(".html") if "web" in p.parts], ids=lambda p: p.name
)
def test_it_writes_no_bare_words_into_a_page(path):
    block = r"\{% blocktranslate.*?endblocktranslate %\}"
    source = re.sub(block, "", path.read_text("utf-8"), flags=re.DOTALL)
    words = Words()

    if not source.startswith("data-"):  # attributes alone
        words.feed(re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{\w+\}", "", source))

    assert set(words.found) <= SAME_WORDS


def test_it_shows_a_page_in_italian(client, connected, superuser):
    make_devices(connected, dataloggers=2)
    connection = MqttConnection.objects.get(site=connected)
    ConnectionEvent.objects.create(
        connection=connection,
        old_status=Status.CONNECTING,
        new_status=Status.ERROR,
        reason=Reason.TIMEOUT,
        at=timezone.now(),
    )
    client.force_login(superuser)
    english = {key for key, text in read_po(CATALOG).items() if key != text}

    for path in ("/", f"/sites/{connected.pk}/"):
        response = client.get(path, headers={"accept-language": "it"})
        page = page_of(response)

        assert '<html lang="it">' in response.content.decode()
        assert set(page.texts) & english == set()
    assert {"MQTT connesso", "nessuna risposta in tempo", "1.234,5"} <= set(page.texts)
