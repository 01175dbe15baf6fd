"""`dev.py screenshots` from the outside, where it cannot take any."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded import arguments
from embedded.tests.test_commands import Clone, clone  # noqa: F401 (a fixture)


@pytest.fixture
def chromium(tmp_path: Path) -> str:
    """A PATH with something that has the name of the browser."""
    browser = tmp_path / "bin" / "chromium"
    browser.parent.mkdir()
    browser.write_text("#!/bin/sh\nexit 1\n")
    browser.chmod(0o755)
    return f"{browser.parent}:/usr/sbin:/usr/bin:/sbin:/bin"


def test_without_chromium_it_says_how_to_get_it(clone: Clone, tmp_path: Path):  # noqa: F811
    folder = tmp_path / "pictures"

    done = clone.dev("screenshots", str(folder), PATH=str(tmp_path / "nothing"))

    reason = "dev.py: no chromium on PATH: apt-get install chromium\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", reason)
    assert not folder.exists()


def test_a_folder_that_is_none_is_told_before_anything_starts(
    clone: Clone,  # noqa: F811
    chromium: str,
    tmp_path: Path,
):
    (tmp_path / "file").write_text("")

    done = clone.dev("screenshots", str(tmp_path / "file"), PATH=chromium)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"dev.py: cannot write to {tmp_path / 'file'}")


@pytest.mark.system
def test_what_goes_wrong_is_one_line_and_nothing_is_left(
    clone: Clone,  # noqa: F811
    chromium: str,
    tmp_path: Path,
):
    """This clone's web process answers, and has no API."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    program = "import sys, time\nif 'simulate_fleet' in sys.argv: time.sleep(99)\n"
    (clone.root / "manage.py").write_text(program)

    done = clone.dev(
        "screenshots", str(tmp_path / "p"), PATH=chromium, TMPDIR=str(temporary)
    )

    assert done.returncode == 1
    assert done.stderr.startswith("dev.py: POST auth/token/: ")
    assert done.stderr.count("\n") == 1
    assert "starting servers" in done.stdout
    assert done.stdout.endswith("dev.py: stopping\n")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("argv", [["screenshots"], ["screenshots", "a", "b"]])
def test_it_wants_one_folder(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        arguments.parse(argv)

    assert caught.value.code == 2
    assert "dev.py" in capsys.readouterr().err
