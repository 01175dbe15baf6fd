"""The file of a spool: durable, in order, bounded; damage is noticed, never stored."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.telemetry.facts import Message
from workers import spoolsalvage
from workers.spoolfile import SpoolFile, SpoolFullError
from workers.spoolrow import SpoolBrokenError

MB = 1_048_576


def messages(count: int, first: int = 1, **but: object) -> list[tuple[Message, str]]:
    base = Message(1, 2, 3, 4, b"s/datalogger/a/1/data", b"", 1, False, False, 0, 0)
    return [
        (
            base._replace(
                **{
                    "payload": b'{"n": %d}' % n,
                    "mid": n,
                    "received_us": 1_000 + n,
                    **but,
                }  # type: ignore[arg-type]
            ),
            "s",
        )
        for n in range(first, first + count)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0.sqlite3"


@pytest.fixture
def file(path: Path):
    opened = SpoolFile(path, 4 * MB)
    yield opened
    opened.close()


def mids(file: SpoolFile, most: int = 10_000) -> list[int]:
    return [row.message.mid for row in file.oldest(most, MB)]


def reopened(file: SpoolFile) -> SpoolFile:
    file.close()
    return SpoolFile(file.path, 4 * MB)


def test_it_is_durable_by_what_sqlite_itself_says(file):
    assert file.is_durable


def test_nobody_else_may_read_it(file, path):
    file.append(messages(1))

    assert {p.stat().st_mode & 0o777 for p in path.parent.glob("0.sqlite3*")} == {0o600}


def test_what_was_appended_is_there_for_another_reader_at_once(file, path):
    file.append(messages(3))

    with sqlite3.connect(path) as other:
        count = other.execute("SELECT count(*) FROM message").fetchone()[0]
    other.close()

    assert count == 3


def test_messages_come_out_as_they_went_in_and_in_order(file):
    odd = messages(1, topic=b"\xff\x00/x", payload=bytes(range(256)), retain=True)
    again = messages(1, first=2, qos=0, dup=True)

    file.append(odd)
    file.append(again)
    found = file.oldest(10, MB)

    assert [row.message for row in found] == [
        (message._replace(session=0)) for message, _ in (*odd, *again)
    ]
    assert [row.code for row in found] == ["s", "s"]


def test_a_piece_is_bounded_by_bytes_but_never_empty(file):
    file.append(messages(5, payload=b"x" * 1_000))

    assert len(file.oldest(10, 2_500)) == 2
    assert len(file.oldest(10, 1)) == 1


def test_what_was_dropped_stays_away_after_a_restart(file):
    file.append(messages(10))
    file.drop(file.oldest(4, MB))

    again = reopened(file)

    assert mids(again) == [5, 6, 7, 8, 9, 10]
    assert again.load.messages == 6
    assert again.by_connection == {3: 6}
    assert again.load.oldest_us == 1_005
    again.close()


def test_numbers_are_never_used_again_not_even_after_a_restart(file):
    file.append(messages(3))
    last = file.oldest(3, MB)[-1].seq
    file.drop(file.oldest(3, MB))
    file.shrink()

    again = reopened(file)
    again.append(messages(1))

    assert again.oldest(1, MB)[0].seq > last
    again.close()


def test_its_identity_survives_a_restart(file):
    before = file.id

    again = reopened(file)

    assert again.id == before
    again.close()


def fill(file: SpoolFile) -> None:
    """Append until there is no room; raises SpoolFullError."""
    for _ in range(100):
        file.append(messages(10, payload=b"x" * 1_000))


def test_the_cap_refuses_a_batch_whole_and_drained_room_is_used_again(path):
    file = SpoolFile(path, 200_000)

    with pytest.raises(SpoolFullError):
        fill(file)

    kept = file.load.messages
    assert 50 < kept < 200
    assert kept % 10 == 0
    assert path.stat().st_size <= 200_000
    file.drop(file.oldest(50, MB))
    file.append(messages(10, payload=b"x" * 1_000))
    assert file.load.messages == kept - 40
    file.close()
    again = SpoolFile(path, 200_000)
    assert again.load.messages == kept - 40
    again.close()


def test_an_empty_file_gives_its_room_back(file, path):
    file.append(messages(2_000, payload=b"x" * 1_000))
    assert path.stat().st_size + path.with_name("0.sqlite3-wal").stat().st_size > 2 * MB

    while rows := file.oldest(500, MB):
        file.drop(rows)
    file.shrink()

    assert path.stat().st_size < 100_000


# -- what the database has already -------------------------------------------------


def test_rows_up_to_the_mark_are_forgotten(file):
    file.append(messages(10))
    through = file.oldest(4, MB)[-1].seq

    assert file.settle(through, 0) == 4

    assert mids(file) == [5, 6, 7, 8, 9, 10]
    assert file.load.messages == 6


def test_a_try_that_was_stored_after_all_is_forgotten_and_another_is_not(file):
    file.append(messages(2), batch=7)
    file.append(messages(2, first=3), batch=8)
    file.append(messages(2, first=5))

    assert file.settle(0, 7) == 2

    assert mids(file) == [3, 4, 5, 6]


def test_the_number_of_a_try_says_nothing_any_more_once_it_was_compared(file):
    file.append(messages(2), batch=8)

    file.settle(0, 7)

    assert file.settle(0, 99) == 0
    assert mids(file) == [1, 2]


def test_a_file_that_knows_less_than_the_database_gives_no_number_twice(file):
    file.settle(1_000, 0)

    file.append(messages(1))

    assert file.oldest(1, MB)[0].seq > 1_000


# -- damage ------------------------------------------------------------------------


def flip(path: Path, content: bytes) -> None:
    data = path.read_bytes()
    at = data.index(content)
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_a_flipped_bit_in_a_payload_is_noticed_when_it_is_read(file, path):
    file.append(messages(10))
    file.close()
    flip(path, b'{"n": 7}')

    damaged = SpoolFile(path, 4 * MB)

    with pytest.raises(SpoolBrokenError):
        damaged.oldest(10, MB)
    damaged.close()
    readable = [row.message.mid for row in spoolsalvage.salvage(path)]
    assert readable == [1, 2, 3, 4, 5, 6, 8, 9, 10]


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_file_that_is_none_of_ours_is_broken_or_begun_anew(path, content):
    path.write_bytes(content)

    if content:
        with pytest.raises(SpoolBrokenError):
            SpoolFile(path, MB)
        assert spoolsalvage.id_of(path) is None
    else:
        SpoolFile(path, MB).close()


def test_a_truncated_file_is_broken(file, path):
    file.append(messages(1_000, payload=b"x" * 500))
    file.close()
    path.write_bytes(path.read_bytes()[:200_000])

    with pytest.raises(SpoolBrokenError):
        SpoolFile(path, 4 * MB)


def test_the_torn_end_of_a_log_costs_only_what_was_not_committed(file, path, tmp_path):
    file.append(messages(5))
    file.append(messages(5, first=6))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for end in ("", "-wal"):
        source = path.with_name(path.name + end)
        (crashed / source.name).write_bytes(source.read_bytes())
    log = crashed / "0.sqlite3-wal"
    log.write_bytes(log.read_bytes() + b"\x17" * 1_000)  # half of a next commit

    again = SpoolFile(crashed / "0.sqlite3", 4 * MB)

    assert mids(again) == list(range(1, 11))
    again.close()


def test_a_damaged_file_is_moved_with_its_log_and_never_over_another(path):
    for _ in range(2):
        path.write_bytes(b"x")
        path.with_name("0.sqlite3-wal").write_bytes(b"y")
        spoolsalvage.aside(path)

    names = sorted(p.name for p in path.parent.iterdir())
    assert len(names) == 4
    assert sum(name.endswith("-wal") for name in names) == 2
    assert not path.exists()


def test_a_read_only_file_is_full_not_broken(file, path):
    file.append(messages(1))
    file._db.execute("PRAGMA query_only = 1")

    with pytest.raises(SpoolFullError):
        file.append(messages(1))

    assert file.load.messages == 1


def test_a_file_that_another_program_holds_is_full_for_a_while(file, path, monkeypatch):
    file._db.execute("PRAGMA busy_timeout = 50")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(SpoolFullError):
            file.append(messages(1))

        other.execute("ROLLBACK")
    other.close()
    file.append(messages(1))
    assert file.load.messages == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 200 kB of room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root may mount a small file system")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_keeps_what_is_there_and_recovers(small_disk):
    file = SpoolFile(small_disk / "0.sqlite3", 100 * MB)

    with pytest.raises(SpoolFullError):
        fill(file)

    kept = file.load.messages
    assert mids(file)[:1] == [1]
    assert len(mids(file)) == kept
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    file.append(messages(10, first=900))
    file.drop(file.oldest(5, MB))
    assert file.load.messages == kept + 5
    file.close()
    again = SpoolFile(small_disk / "0.sqlite3", 100 * MB)
    assert again.load.messages == kept + 5
    again.close()


def test_a_disk_that_is_full_from_the_start_is_full_not_broken(small_disk):
    (small_disk / "ballast").write_bytes(b"x" * 199_000)

    with pytest.raises(SpoolFullError):
        SpoolFile(small_disk / "0.sqlite3", MB)
