"""The part of each asset's address that says which version it is."""

from __future__ import annotations

import re
from pathlib import Path

from project.asset_version import asset_version


def test_the_version_changes_with_any_asset_and_with_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements/base.txt"
    script = tmp_path / "apps/web/static/web/js/a.js"
    for file in (lock, script):
        file.parent.mkdir(parents=True)
        file.write_text("1")
    seen = [asset_version(tmp_path)]
    assert asset_version(tmp_path) == seen[0]

    script.write_text("2")
    seen.append(asset_version(tmp_path))
    lock.write_text("2")
    seen.append(asset_version(tmp_path))
    script.rename(script.with_name("b.js"))
    seen.append(asset_version(tmp_path))

    assert len(set(seen)) == 4
    assert all(re.fullmatch("[0-9a-f]{12}", version) for version in seen)
