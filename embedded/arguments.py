"""The command line of dev.py; standard library only, so that --help needs no .venv."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

EPILOG = """\
up honours the variables PORT (8000), HOST (127.0.0.1), MQTT_PORT (1883), MQTT_V5_PORT,
FLOWER_PORT (5555), ADMIN_USERNAME (admin), ADMIN_PASSWORD (random, printed), and
DATABASE_URL, REDIS_URL, MQTT_URL (given: that server is used and none is embedded).
State, data and logs live in .run/; remove it to begin anew.
"""
# Everything after these belongs to pytest or to manage.py, options included.
PASSING_ON = ("test", "manage")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; `rest` holds what is passed on."""
    parser = _parser()
    if argv and argv[0] in PASSING_ON and list(argv[1:2]) not in (["-h"], ["--help"]):
        return argparse.Namespace(command=argv[0], rest=list(argv[1:]))
    return parser.parse_args(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev.py",
        description="Runs Guardiano on a machine that has nothing but Python.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start everything; Ctrl-C stops it")
    up.add_argument(
        "--no-demo", action="store_true", help="no demo sites, no simulated devices"
    )
    up.add_argument(
        "--detach", action="store_true", help="return when ready, run on in background"
    )
    # From a detaching parent to its background child: where to report.
    up.add_argument("--report-to", type=int, help=argparse.SUPPRESS)

    commands.add_parser("down", help="stop what up started")
    status = commands.add_parser(
        "status", help="show the processes; exit code 0 fine, 1 trouble, 3 not running"
    )
    status.add_argument("--json", action="store_true", help="for programs")
    commands.add_parser(
        "env",
        help='its variables; to export them: set -a; eval "$(python3 dev.py env)"',
    )
    manage = commands.add_parser(
        "manage", help="a management command against the running system"
    )
    manage.add_argument("rest", nargs="*", metavar="COMMAND [ARGUMENT]")
    test = commands.add_parser("test", help="run the tests on servers of their own")
    test.add_argument("rest", nargs="*", metavar="PYTEST_ARGUMENT")
    commands.add_parser(
        "check", help="format, lint, types, imports, migrations, deploy"
    )
    screenshots = commands.add_parser(
        "screenshots",
        help="take pictures of all pages, of a demo that it starts and stops itself",
        description="Takes pictures (PNG) of all pages: light, dark, wide, phone, "
        "in English and some in Italian. Starts a demo of its own on free ports and "
        "stops it; `up` may run beside it. Needs chromium on PATH.",
    )
    screenshots.add_argument("folder", metavar="DIR", help="where the pictures go")
    return parser
