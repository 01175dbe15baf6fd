"""dev.py from the outside: arguments, and a whole small system up and down."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded import arguments, proc
from embedded.ports import free_ports
from embedded.rundir import RunDir
from embedded.tests.conftest import wait_for

ROOT = Path(__file__).parents[2]
PROCFILE = "web: python web.py\n# a comment\nidle: python idle.py\n"
WEB = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
IDLE = "import time\nprint('idle')\ntime.sleep(1000)\n"
MANAGE = "import os, sys\nprint(sys.argv[1:], os.environ['MQTT_SHARDS'])\n"
# dev.py without the part that builds the venv: these tests already run in it.
DEV = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
from embedded import cli
sys.exit(cli.main(Path(__file__).parent, sys.argv[1:]))
"""


class Clone:
    """A small project with our own `embedded`, in a directory with a space."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".venv").mkdir(parents=True)
        (root / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        shutil.copytree(ROOT / "embedded", root / "embedded")
        files = {"Procfile": PROCFILE, "web.py": WEB, "idle.py": IDLE}
        files |= {"manage.py": MANAGE, "dev.py": DEV}
        for name, text in files.items():
            (root / name).write_text(text)
        self.ports = free_ports(4)
        names = ("PORT", "MQTT_PORT", "MQTT_V5_PORT", "FLOWER_PORT")
        self.environ = {**os.environ, "MQTT_SHARDS": "7", "ADMIN_USERNAME": "boss"}
        for name in ("DATABASE_URL", "REDIS_URL", "MQTT_URL", "ADMIN_PASSWORD"):
            self.environ.pop(name, None)
        self.environ |= dict(zip(names, map(str, self.ports), strict=True))

    def dev(self, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.root / "dev.py"), *argv],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env={**self.environ, **environ},
            timeout=300,
        )

    def pids(self) -> list[int]:
        rows = RunDir(self.root / ".run").status()["processes"]
        return [row["pid"] for row in rows]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    clone = Clone(tmp_path / "a clone")
    yield clone
    clone.dev("down")
    elsewhere = clone.root / ".run" / "pg18.elsewhere"
    if elsewhere.exists():
        shutil.rmtree(Path(elsewhere.read_text().strip()).parent)


@pytest.mark.system
def test_a_system_goes_up_is_seen_and_goes_down(clone: Clone):
    up = clone.dev("up", "--no-demo", "--detach")
    assert up.returncode == 0, up.stdout + up.stderr
    assert f"http://127.0.0.1:{clone.ports[0]}/" in up.stdout

    status = clone.dev("status", "--json")
    names = [row["name"] for row in json.loads(status.stdout)["processes"]]
    assert names == ["broker", "valkey", "postgres", "web", "idle"]
    assert status.returncode == 0
    assert "idle" in clone.dev("status").stdout

    shown = clone.dev("env").stdout
    assert "ADMIN_USERNAME=boss\n" in shown
    assert "MQTT_SHARDS=7\n" in shown
    assert re.search(r"^DATABASE_URL=postgres://guardiano:\S+$", shown, re.MULTILINE)

    managed = clone.dev("manage", "shell", "-c", "x y", MQTT_SHARDS="1")
    assert managed.stdout == "['shell', '-c', 'x y'] 7\n"

    second = clone.dev("up")
    assert second.returncode == 1
    assert second.stderr.startswith("dev.py: already running at http://127.0.0.1:")

    pids = clone.pids()
    assert clone.dev("down").stdout == "stopped\n"
    assert proc.wait_gone(pids, 0) == []
    assert all(_is_closed(port) for port in clone.ports)
    assert clone.dev("status").returncode == 3


@pytest.mark.system
def test_a_killed_runner_leaves_nothing_behind(clone: Clone):
    assert clone.dev("up", "--no-demo", "--detach").returncode == 0
    run = RunDir(clone.root / ".run")
    pids, runner = clone.pids(), run.runner_pid()
    assert runner is not None

    os.kill(runner, signal.SIGKILL)
    wait_for(lambda: run.runner_pid() is None)

    assert clone.dev("down").stdout.startswith("not running")
    assert proc.wait_gone(pids, 0) == []


@pytest.mark.system
def test_a_process_that_ends_at_once_fails_the_start_in_one_line(clone: Clone):
    (clone.root / "idle.py").write_text("raise SystemExit('NAME=7 is wrong')")

    up = clone.dev("up", "--no-demo", "--detach")

    reason = "dev.py: idle ended at once (exit code 1: NAME=7 is wrong)\n"
    assert (up.returncode, up.stderr) == (1, reason)
    assert all(_is_closed(port) for port in clone.ports)
    assert clone.dev("status").returncode == 3


def test_a_taken_port_is_told_before_anything_starts(clone: Clone):
    with socket.create_server(("127.0.0.1", clone.ports[1])):
        up = clone.dev("up", "--no-demo")

    assert up.returncode == 1
    assert up.stderr.startswith("dev.py: MQTT_PORT: port ")
    assert not (clone.root / ".run" / "pg18").exists()


@pytest.mark.parametrize("command", [("env",), ("manage", "check")])
def test_what_needs_a_running_system_says_so(clone: Clone, command: tuple[str, ...]):
    done = clone.dev(*command)

    assert done.returncode == 1
    assert done.stderr == ("dev.py: not running; start it with: python3 dev.py up\n")


def test_down_without_a_system_is_fine(clone: Clone):
    done = clone.dev("down")

    assert (done.returncode, done.stdout) == (0, "not running\n")


def test_options_after_test_and_manage_are_passed_on():
    assert arguments.parse(["test", "-x", "--lf"]).rest == ["-x", "--lf"]
    assert arguments.parse(["manage", "shell", "--help"]).rest == ["shell", "--help"]


@pytest.mark.parametrize("argv", [[], ["fly"], ["up", "--fast"], ["down", "now"]])
def test_a_wrong_command_line_is_refused(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        arguments.parse(argv)

    assert caught.value.code == 2
    assert "usage: dev.py" in capsys.readouterr().err


def _is_closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
