"""Who may open which spool: one at a time, and what is left behind is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers import spooldir


def left(base: Path, *but: Path) -> list[Path]:
    claims = list(spooldir.claim_left(base, "house", but))
    for claim in claims:
        claim.release()
    return [claim.path for claim in claims]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return spooldir.folder_of(tmp_path, "house", "mqtt0@here")


def test_two_writers_never_get_the_same_file(folder):
    first, second = spooldir.claim_own(folder), spooldir.claim_own(folder)

    assert first.path.name == "0.sqlite3"
    assert second.path.name == "1.sqlite3"
    first.release()
    second.release()


def test_the_next_process_gets_the_file_of_the_last(folder):
    spooldir.claim_own(folder).release()

    again = spooldir.claim_own(folder)

    assert again.path.name == "0.sqlite3"
    again.release()


def test_only_files_of_workers_that_are_gone_are_left(tmp_path, folder):
    held, gone = spooldir.claim_own(folder), spooldir.claim_own(folder)
    held.path.touch()
    gone.path.touch()
    assert left(tmp_path) == []

    gone.release()

    assert left(tmp_path) == [gone.path]
    assert left(tmp_path, gone.path) == []
    held.release()


def test_another_installation_in_the_same_folder_is_none_of_our_business(tmp_path):
    other = spooldir.claim_own(spooldir.folder_of(tmp_path, "other", "mqtt0@here"))
    other.path.touch()
    other.release()

    assert left(tmp_path) == []


def test_a_removed_file_is_gone_with_all_that_belongs_to_it(folder):
    claim = spooldir.claim_own(folder)
    for end in ("", "-wal", "-shm"):
        claim.path.with_name(claim.path.name + end).touch()

    claim.remove()

    assert list(folder.iterdir()) == []
    spooldir.claim_own(folder).release()


def test_whoever_waited_for_a_lock_that_was_removed_takes_a_new_one(
    folder, monkeypatch
):
    """Between our open and our lock its holder deleted the lock file."""
    first = spooldir.claim_own(folder)
    lock = first.path.with_suffix(".lock")
    real = spooldir.os.open
    opened: list[int] = []

    def open_and_lose(path, *arguments):
        opened.append(real(path, *arguments))
        if len(opened) == 1:
            lock.unlink()
            first.release()
        return opened[-1]

    monkeypatch.setattr(spooldir.os, "open", open_and_lose)
    claim = spooldir.claim_own(folder)
    monkeypatch.undo()

    assert len(opened) == 2
    assert claim.path == first.path
    assert lock.exists()
    claim.release()


@pytest.mark.parametrize(
    ("one", "other"), [("a/b", "a%2fb"), ("..", "."), ("é", "e"), ("", "x")]
)
def test_any_name_is_a_folder_of_its_own_below_the_base(tmp_path, one, other):
    folders = [spooldir.folder_of(tmp_path, name, "n") for name in (one, other)]

    assert folders[0] != folders[1]
    for folder in folders:
        assert folder.resolve().is_relative_to(tmp_path.resolve())
        assert len(folder.resolve().relative_to(tmp_path.resolve()).parts) >= 1


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"):
        spooldir.claim_own(tmp_path / "file" / "spool")
