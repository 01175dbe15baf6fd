"""`makemessages` itself, where gettext is: it leaves nothing untranslated.

test_italian.py reads the sources by itself, and so does the same job everywhere; this
one would notice what xgettext alone can see, or cannot: an alias of gettext, say.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from apps.core.translations import read_po

ROOT: Path = settings.BASE_DIR
SOURCES = ("apps", "project", "workers", "locale")
FILES = ("manage.py", "requirements/base.txt")
HOW_TO_GET = "no xgettext on PATH: apt-get install gettext"


@pytest.fixture
def made(tmp_path):
    """The catalog as makemessages leaves it, made in a copy of the sources."""
    if shutil.which("xgettext") is None:
        pytest.skip(HOW_TO_GET)
    for name in SOURCES:
        ignore = shutil.ignore_patterns("tests", "__pycache__", "*.mo")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "manage.py", "makemessages", "-l", "it"]
    command += ["--no-wrap", "--no-location"]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return tmp_path / "locale/it/LC_MESSAGES/django.po"


def test_makemessages_leaves_nothing_untranslated_and_nothing_over(made):
    text = made.read_text("utf-8")
    # Fuzzy and empty entries are no translations, so they are not read.
    wanted = set(re.findall(r'^msgid "(.+)"$', text, re.MULTILINE))
    left = sorted(wanted - {key.partition("\0")[0] for key in _escaped(made)})
    over = re.findall(r'^#~ msgid "(.+)"$', text, re.MULTILINE)

    assert left == []
    assert over == []


def _escaped(path: Path) -> set[str]:
    """Return the translated messages as the file writes them."""
    found = read_po(path)
    return {
        key.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for key in found
    }
