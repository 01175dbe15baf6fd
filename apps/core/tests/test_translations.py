from __future__ import annotations

import gettext
import io
import os

import pytest

from apps.core.translations import CatalogError, compile_catalogs, mo_bytes, read_po

HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
PLURALS = '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n'


@pytest.fixture
def source(tmp_path, settings):
    """A catalog of its own, in a folder of its own."""
    settings.LOCALE_PATHS = [tmp_path]
    path = tmp_path / "it/LC_MESSAGES/django.po"
    path.parent.mkdir(parents=True)
    return path


def compiled(source, text):
    source.write_text(HEADER + text, "utf-8")
    return gettext.GNUTranslations(io.BytesIO(mo_bytes(read_po(source))))


def test_it_makes_what_gettext_reads(source):
    catalog = compiled(
        source,
        'msgid "yes"\nmsgstr "sì"\n\n# a note\n#: file.py:3\nmsgid ""\n"two "\n'
        '"lines\\n"\nmsgstr ""\n"due "\n"\\"righe\\"\\n"\n',
    )

    assert catalog.gettext("yes") == "sì"
    assert catalog.gettext("two lines\n") == 'due "righe"\n'
    assert catalog.info()["content-type"] == "text/plain; charset=UTF-8"


def test_it_knows_contexts_and_plurals(source):
    catalog = compiled(
        source,
        PLURALS + '\nmsgctxt "verb"\nmsgid "Stop"\nmsgstr "Ferma"\nmsgid "Stop"\n'
        'msgstr "Fermata"\n\nmsgid "%d site"\nmsgid_plural "%d sites"\n'
        'msgstr[0] "%d sito"\nmsgstr[1] "%d siti"\n',
    )

    assert catalog.pgettext("verb", "Stop") == "Ferma"
    assert catalog.gettext("Stop") == "Fermata"
    assert catalog.ngettext("%d site", "%d sites", 1) == "%d sito"
    assert catalog.ngettext("%d site", "%d sites", 2) == "%d siti"


def test_it_leaves_out_what_is_not_translated(source):
    catalog = compiled(
        source,
        '\n#, fuzzy\nmsgid "a"\nmsgstr "perhaps"\n\nmsgid "b"\nmsgstr ""\n\n'
        '#, fuzzy\n#~ msgid "c"\n#~ msgstr "old"\n\nmsgid "d"\nmsgstr "ok"\n',
    )

    assert [catalog.gettext(key) for key in "abcd"] == ["a", "b", "c", "ok"]


@pytest.mark.parametrize("line", ["msgid yes", "nonsense", 'msgid "open', "msgid 3"])
def test_it_names_the_line_that_means_nothing(source, line):
    source.write_text(HEADER + f"\n{line}\n", "utf-8")

    with pytest.raises(CatalogError, match=r"django\.po, line 5"):
        read_po(source)


def test_it_compiles_only_what_is_older_than_its_source(source):
    target = source.with_suffix(".mo")
    source.write_text(HEADER + '\nmsgid "a"\nmsgstr "b"\n', "utf-8")

    first, second = compile_catalogs(), compile_catalogs()
    os.utime(target, (1, 1))
    third = compile_catalogs()

    assert (first, second, third) == ([target], [], [target])
    assert sorted(path.name for path in source.parent.iterdir()) == [
        "django.mo",
        "django.po",
    ]


def test_it_goes_on_in_a_folder_that_cannot_be_written(source, monkeypatch, caplog):
    source.write_text(HEADER, "utf-8")

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("apps.core.translations.tempfile.mkstemp", refuse)

    assert compile_catalogs() == []
    assert "translation not compiled" in caplog.text
