"""The deliberate bugs fit the source; `python3 -m tests.mutations` has them caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations.catalog import CATALOG, Edit, Mutation, OutOfDateError

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("mutation", CATALOG, ids=lambda mutation: mutation.name)
def test_a_bug_fits_the_source_and_is_still_python(mutation: Mutation) -> None:
    for path, source in mutation.sources(ROOT).items():
        assert source != path.read_text()
        compile(source, path, "exec")


@pytest.mark.parametrize("mutation", CATALOG, ids=lambda mutation: mutation.name)
def test_the_tests_of_a_bug_exist(mutation: Mutation) -> None:
    for test in mutation.tests:
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / path).read_text()


@pytest.mark.parametrize("source", ["nothing of it", "x = 1\nx = 1\n"])
def test_a_bug_that_does_not_fit_is_called_out_of_date(
    source: str, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(source)
    mutation = Mutation("a-bug", "", (Edit("a.py", "x = 1\n", "x = 2\n"),), ())

    with pytest.raises(OutOfDateError, match="a-bug is out of date"):
        mutation.sources(tmp_path)


def test_several_edits_of_one_file_are_all_made(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 1\n")
    edits = (Edit("a.py", "x = 1", "x = 2"), Edit("a.py", "y = 1", "y = 2"))

    sources = Mutation("a-bug", "", edits, ()).sources(tmp_path)

    assert sources == {tmp_path / "a.py": "x = 2\ny = 2\n"}
