"""When .venv is built and when not; pip itself is not run here."""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path

import pytest

from embedded import bootstrap
from embedded.bootstrap import BootstrapError, ensure_venv


class Builder:
    """Stands in for venv and pip, and counts them."""

    def __init__(self) -> None:
        self.created = 0
        self.installed = 0
        self.fail = False

    def create(self, venv: Path) -> None:
        self.created += 1
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin" / "activate").write_text(f"VIRTUAL_ENV='{venv}'\n")
        if not (venv / "bin" / "python").exists():
            (venv / "bin" / "python").symlink_to(sys.executable)

    def install(self, python: Path, lock: Path) -> None:
        self.installed += 1
        if self.fail:
            message = "pip failed"
            raise BootstrapError(message)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    builder = Builder()
    monkeypatch.setattr(bootstrap, "_create", builder.create)
    monkeypatch.setattr(bootstrap, "_install", builder.install)
    return builder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a clone"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "dev.txt").write_text("django==1\n")
    return root


def test_it_is_built_once(root: Path, builder: Builder):
    for _ in range(3):
        assert ensure_venv(root) == root / ".venv" / "bin" / "python"

    assert (builder.created, builder.installed) == (1, 1)


def test_a_changed_lock_updates_it_in_place(root: Path, builder: Builder):
    ensure_venv(root)
    (root / "requirements" / "dev.txt").write_text("django==2\n")

    ensure_venv(root)

    assert (builder.created, builder.installed) == (1, 2)


def test_a_half_built_one_is_built_anew(root: Path, builder: Builder):
    builder.fail = True
    with pytest.raises(BootstrapError):
        ensure_venv(root)
    builder.fail = False

    ensure_venv(root)

    assert (builder.created, builder.installed) == (2, 2)


def test_a_copied_one_is_built_anew(root: Path, builder: Builder, tmp_path: Path):
    ensure_venv(root)
    moved = root.rename(tmp_path / "moved")

    ensure_venv(moved)

    assert builder.created == 2


def test_one_whose_python_is_gone_is_built_anew(root: Path, builder: Builder):
    ensure_venv(root)
    (root / ".venv" / "bin" / "python").unlink()

    ensure_venv(root)

    assert builder.created == 2


def test_two_at_once_build_it_once(root: Path, builder: Builder):
    threads = [threading.Thread(target=ensure_venv, args=(root,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (builder.created, builder.installed) == (1, 1)


def test_a_missing_ensurepip_is_named(tmp_path: Path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "ensurepip" else find(name),
    )

    with pytest.raises(BootstrapError, match="no ensurepip module; install it"):
        bootstrap._create(tmp_path / ".venv")
