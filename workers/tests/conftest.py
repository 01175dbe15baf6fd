from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.tests.hall import Hall


@pytest.fixture
def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hall]:
    made = Hall(tmp_path, monkeypatch)
    yield made
    made.spool.close()
