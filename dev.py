#!/usr/bin/env python3
"""Runs Guardiano on a machine that has nothing but Python; see `dev.py --help`.

This file only makes sure that `.venv` matches the lock and hands over to `embedded.cli`
inside it. Standard library only.
"""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - older ones must get to read this
    sys.exit(
        "dev.py: Python 3.11 or newer is needed, this is " + sys.version.split()[0]
    )

from pathlib import Path

ROOT = Path(__file__).resolve().parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from embedded import arguments, bootstrap  # noqa: E402 - see above
from embedded.errors import DevError  # noqa: E402


def main() -> int:
    _open_standard_files()
    arguments.parse(sys.argv[1:])  # a typo or --help shall not build anything
    try:
        python = bootstrap.ensure_venv(ROOT)
    except DevError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if Path(sys.prefix).resolve() != python.parent.parent.resolve():
        os.execv(python, [str(python), str(ROOT / "dev.py"), *sys.argv[1:]])  # noqa: S606 - no shell wanted

    from embedded import cli  # here: it needs the venv's packages

    return cli.main(ROOT, sys.argv[1:])


def _open_standard_files() -> None:
    """Fill closed descriptors 0 to 2, or the next file opened would become stdout."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(main())
