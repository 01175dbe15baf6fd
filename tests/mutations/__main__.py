"""Puts deliberate bugs into a copy of the tree, one at a time, and has the tests run.

    python3 -m tests.mutations [NAME ...]

Exit status: 0 every bug was caught, 1 one survived, or a test fails without any bug,
2 a bug does not fit the source any more or is not known.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedded.environment import process_environ, without_settings
from embedded.suite import start_servers
from tests.mutations.catalog import BY_NAME, CATALOG, Mutation, OutOfDateError

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".run", "__pycache__", ".*_cache", "staticfiles", "*.log"
)
PATIENCE_S = 300.0  # for the tests of one bug, on a machine under load
CAUGHT, SURVIVED, WRONG_USE = 0, 1, 2
_PASSED, _FAILED = 0, 1  # what pytest answers; anything else is no verdict
_FAILURE = re.compile(r"^FAILED (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said of a bug."""

    mutation: Mutation
    failed: tuple[str, ...]
    seconds: float
    trouble: str = ""  # why there is no verdict

    @property
    def is_caught(self) -> bool:
        return bool(self.failed) and not self.trouble


def main() -> int:
    chosen = _chosen()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        for mutation in chosen:
            mutation.sources(ROOT)
    except OutOfDateError as error:
        print(error, file=sys.stderr)
        return WRONG_USE
    with ExitStack() as stack:
        tree = stack.enter_context(_copy())
        clean = without_settings(ROOT, os.environ)
        environ = process_environ(tree, clean, start_servers(stack))
        environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a bug must not outlive its source
        if not _is_sound(chosen, tree, environ):
            return SURVIVED
        verdicts = [_try(mutation, tree, environ) for mutation in chosen]
    return _conclude(verdicts)


def _chosen() -> Sequence[Mutation]:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.mutations", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--list", action="store_true", help="only tell what there is")
    arguments = parser.parse_args()
    if arguments.list:
        for mutation in CATALOG:
            print(f"{mutation.name:26} {mutation.what}")
        raise SystemExit(CAUGHT)
    unknown = [name for name in arguments.names if name not in BY_NAME]
    if unknown:
        parser.error(f"no such bug: {', '.join(unknown)}; --list names them")
    return [BY_NAME[name] for name in arguments.names] or CATALOG


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="guardiano-mutations-") as folder:
        yield Path(shutil.copytree(ROOT, Path(folder) / "tree", ignore=NOT_COPIED))


def _is_sound(
    chosen: Sequence[Mutation], tree: Path, environ: Mapping[str, str]
) -> bool:
    """Run all the tests without any bug: a test that fails anyway catches nothing."""
    tests = sorted({test for mutation in chosen for test in mutation.tests})
    print(f"without a bug: {len(tests)} tests ", end="", flush=True)
    began = time.monotonic()
    code, said = _pytest(tests, tree, environ)
    print(f"{'pass' if code == _PASSED else 'FAIL'}, {time.monotonic() - began:.0f} s")
    if code != _PASSED:
        print(said[-4_000:])
    return code == _PASSED


def _try(mutation: Mutation, tree: Path, environ: Mapping[str, str]) -> Verdict:
    sources = mutation.sources(tree)
    sound = {path: path.read_text() for path in sources}
    began = time.monotonic()
    try:
        for path, source in sources.items():
            path.write_text(source)
        code, said = _pytest(mutation.tests, tree, environ)
    finally:
        for path, source in sound.items():
            path.write_text(source)
    failed = tuple(_FAILURE.findall(said))
    is_verdict = code == _PASSED or (code == _FAILED and failed)  # errors are none
    trouble = "" if is_verdict else said.strip()[-2_000:]
    verdict = Verdict(mutation, failed, time.monotonic() - began, trouble)
    print(_line(verdict), flush=True)
    return verdict


def _pytest(
    tests: Sequence[str], tree: Path, environ: Mapping[str, str]
) -> tuple[int, str]:
    """Return pytest's exit status and what it said."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short"]
    # What a test that fails leaves in the database is not for the next bug.
    with subprocess.Popen(
        [*command, "-p", "no:randomly", "--create-db", *tests],
        cwd=tree,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as pytest:
        try:
            said, _ = pytest.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.terminate()
            said, _ = pytest.communicate()
            return -1, f"{said}\nno end after {PATIENCE_S:.0f} s"
    return pytest.returncode, said


def _line(verdict: Verdict) -> str:
    if verdict.trouble:
        result = f"NO VERDICT: {verdict.trouble}"
    elif verdict.failed:
        more = len(verdict.failed) - 1
        result = verdict.failed[0] + (f" and {more} more" if more else "")
    else:
        result = f"SURVIVED {', '.join(verdict.mutation.tests)}"
    return f"{verdict.mutation.name:26} {verdict.seconds:5.1f} s  {result}"


def _conclude(verdicts: Sequence[Verdict]) -> int:
    survived = [each.mutation.name for each in verdicts if not each.is_caught]
    print(f"\n{len(verdicts) - len(survived)} of {len(verdicts)} bugs were caught")
    if survived:
        print("not caught:", ", ".join(survived))
    return SURVIVED if survived else CAUGHT


if __name__ == "__main__":
    sys.exit(main())
