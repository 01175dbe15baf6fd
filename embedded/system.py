"""Brings the whole system up, keeps it up, and takes it down again."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from embedded.broker import Broker, choose_kind
from embedded.child import Child, Report, Spec
from embedded.console import Console
from embedded.environment import (
    BROKER_USER,
    Wishes,
    check_ports,
    chosen_settings,
    load_secrets,
    process_environ,
    read_wishes,
    system_variables,
)
from embedded.ports import why_taken
from embedded.postgres import Postgres
from embedded.procfile import read_procfile
from embedded.rundir import MARKER, RunDir
from embedded.runner import Runner, StopRequest
from embedded.server import Launch, Server
from embedded.valkey import Valkey

HEALTH_PATH = "/api/v1/mqtt/health/live/"
SERVERS_TIMEOUT_S = 60.0
PREPARE_TIMEOUT_S = 180.0
WEB_TIMEOUT_S = 120.0
# What cannot start ends within this time; only then is the system called ready.
SETTLED_AFTER_S = 3.0

# Who stops first: what takes work in, then what does it, then what keeps it. All graces
# together stay below the 30 s that `dev.py down` waits.
EDGE, WORKERS, SERVERS = 3, 2, 1
SERVER_GRACE_S = 10.0
WORKER_GRACE_S = 10.0
EDGE_GRACE_S = {"web": 8.0, "beat": 5.0, "flower": 5.0, "fleet": 3.0}


class System:
    """One run of `dev.py up`, in this process.

    Args:
        root: repository root.
        run: its state directory, already claimed.
        console: where to tell.
        stop: the flag signals set.
        environ: the user's environment.
        demo: whether to load the demo and start its fleet.
    """

    def __init__(
        self,
        root: Path,
        run: RunDir,
        console: Console,
        stop: StopRequest,
        *,
        environ: Mapping[str, str],
        demo: bool,
    ) -> None:
        self._root = root
        self._run = run
        self._console = console
        self._stop = stop
        self._environ = environ
        self._demo = demo
        self._began = time.monotonic()
        self._began_at = time.time()
        self._state = "starting"
        self._runner = Runner(run.logs, console, stop, self._write_status)
        self._processes = read_procfile(root / "Procfile")
        self._kept = load_secrets(run.path / "secrets.json")
        self._wishes = read_wishes(environ, self._kept)
        kind = choose_kind("auto")
        check_ports(self._wishes, with_v5=kind == "iotcore")
        self._servers = self._choose_servers()
        self._variables = self._all_variables()

    @property
    def wishes(self) -> Wishes:
        return self._wishes

    @property
    def login(self) -> tuple[str, str]:
        """The administrator's name and password."""
        return self._variables["ADMIN_USERNAME"], self._variables["ADMIN_PASSWORD"]

    def start(self) -> None:
        """Start everything; returns when the web page answers.

        Raises:
            DevError: something cannot start. Call `finish`.
            Interrupted: a signal came. Call `finish`.
        """
        self._write_status([])
        self._start_servers()
        self._run.write_variables(self._variables)
        self._console.say("dev.py: preparing the database")
        self._runner.run_once(self._prepare_spec(), PREPARE_TIMEOUT_S)
        self._stop.check()
        self._console.say("dev.py: starting " + ", ".join(self._processes))
        children = [self._runner.start(spec) for spec in self._process_specs()]
        end = time.monotonic() + WEB_TIMEOUT_S
        self._runner.wait_until(
            f"web ({self._wishes.url})", partial(self._is_ready, children), end
        )
        self._state = "running"
        self._write_status(self._runner.reports())

    def banner(self) -> str:
        """What somebody needs to know to use the system; holds the password."""
        values = self._variables
        took = time.monotonic() - self._began
        rows = {
            "URL": self._wishes.url,
            "user": values["ADMIN_USERNAME"],
            "password": values["ADMIN_PASSWORD"],
            "Flower": f"http://localhost:{values['FLOWER_PORT']}/ (same login)",
            "MQTT broker": self._describe_broker(),
            "logs": str(self._run.logs),
            "stop": "Ctrl-C, or: python3 dev.py down",
        }
        lines = [f"  {name:<12} {value}" for name, value in rows.items()]
        return "\n".join(["", f"Guardiano is ready ({took:.1f} s)", *lines, ""])

    def watch(self) -> None:
        """Keep everything running until a signal asks for the end."""
        self._runner.watch()

    def finish(self) -> None:
        """Stop everything; safe at any point of the start."""
        self._state = "stopping"
        self._write_status(self._runner.reports())
        self._runner.stop()
        self._run.release()

    def manage(self, command: str, timeout_s: float) -> None:
        """Run a management command to its end, with the system's variables.

        Raises:
            StartError: it failed or took too long.
            Interrupted: a signal came.
        """
        name = command.split(maxsplit=1)[0]
        spec = Spec(name, partial(self._shell, f"python manage.py {command}"))
        self._runner.run_once(spec, timeout_s)

    def remove_data(self) -> None:
        """Delete the databases' files, wherever they are. Only when finished."""
        for server in self._servers:
            if isinstance(server, Postgres):
                server.remove_data()

    def _choose_servers(self) -> list[Server]:
        """The servers to embed: those the user gave no URL for."""
        wishes, state = self._wishes, self._run.path
        servers: list[Server] = []
        if not wishes.mqtt_url:
            servers.append(
                Broker(
                    state,
                    port=wishes.mqtt_port,
                    v5_port=wishes.v5_port or _neighbour(wishes),
                    users={BROKER_USER: self._kept["broker_password"]},
                )
            )
        if not wishes.redis_url:
            password = self._kept["redis_password"]
            servers.append(Valkey(state / "valkey", password=password))
        if not wishes.database_url:
            password = self._kept["database_password"]
            servers.append(Postgres(state, password=password))
        return servers

    def _all_variables(self) -> dict[str, str]:
        urls = {
            "database_url": self._wishes.database_url,
            "redis_url": self._wishes.redis_url,
            "mqtt_url": self._wishes.mqtt_url,
        }
        v5_port = self._wishes.v5_port or self._wishes.mqtt_port
        for server in self._servers:
            match server:
                case Postgres():
                    urls["database_url"] = server.url
                case Valkey():
                    urls["redis_url"] = server.url
                case Broker():
                    urls["mqtt_url"] = server.url
                    v5_port = server.v5_port
        own = system_variables(
            self._wishes, self._kept, self._environ, **urls, v5_port=v5_port
        )
        return chosen_settings(self._root, self._environ) | own

    def _start_servers(self) -> None:
        names = ", ".join(server.name for server in self._servers) or "none"
        self._console.say(f"dev.py: starting servers: {names}")
        end = time.monotonic() + SERVERS_TIMEOUT_S
        for server in self._servers:  # PostgreSQL, the slow one, comes last
            self._stop.check()
            server.prepare()
            self._runner.start(self._server_spec(server))
        for server in self._servers:
            self._runner.wait_until(server.name, server.is_ready, end)
            server.after_start()

    def _server_spec(self, server: Server) -> Spec:
        def launch() -> Launch:
            server.prepare()  # a restart after a crash may have to clear the way
            found = server.launch()
            environ = {**found.environ, MARKER: str(self._run.path)}
            return Launch(found.argv, environ, found.cwd, found.user, found.group)

        return Spec(
            server.name,
            launch,
            tier=SERVERS,
            stop_signal=server.stop_signal,
            death_signal=server.stop_signal,
            grace_s=SERVER_GRACE_S,
        )

    def _prepare_spec(self) -> Spec:
        command = "python manage.py prepare" + (" --demo" if self._demo else "")
        return Spec("prepare", partial(self._shell, command))

    def _process_specs(self) -> list[Spec]:
        commands = dict(self._processes)
        if self._demo:
            commands["fleet"] = "python manage.py simulate_fleet --demo"
        return [
            Spec(
                name,
                partial(self._shell, command),
                tier=EDGE if name in EDGE_GRACE_S else WORKERS,
                grace_s=EDGE_GRACE_S.get(name, WORKER_GRACE_S),
            )
            for name, command in commands.items()
        ]

    def _shell(self, command: str) -> Launch:
        environ = process_environ(self._root, self._environ, self._variables)
        environ[MARKER] = str(self._run.path)
        # exec: signals have to reach the program, not a shell before it.
        argv = ["/bin/sh", "-c", f"exec {command}"]
        return Launch(argv, environ, cwd=self._root)

    def _is_ready(self, children: list[Child]) -> bool:
        settled = all(child.age_s > SETTLED_AFTER_S for child in children)
        return settled and answers(self._wishes.address, self._wishes.port)

    def _describe_broker(self) -> str:
        for server in self._servers:
            if isinstance(server, Broker):
                versions = f"127.0.0.1:{server.port}"
                if server.v5_port != server.port:
                    versions += f" (MQTT 5: {server.v5_port})"
                return f"{versions}, {server.kind}, user {BROKER_USER}"
        return "the one of MQTT_URL"

    def _write_status(self, reports: list[Report]) -> None:
        status = {
            "pid": os.getpid(),
            "state": self._state,
            "url": self._wishes.url,
            "since": self._began_at,
            "broker": self._describe_broker(),
            "logs": str(self._run.logs),
            "processes": [report.as_dict() for report in reports],
        }
        with suppress(OSError):  # a full disk must not end the system
            self._run.write_status(status)


def answers(host: str, port: int) -> bool:
    """Whether the web process says that it is alive."""
    # Not urllib: a proxy set in the environment must not be asked.
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", HEALTH_PATH, headers={"Host": "localhost"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _neighbour(wishes: Wishes) -> int | None:
    """MQTT_PORT + 1 for MQTT 5 if nobody has it; None for any free port."""
    port = wishes.mqtt_port + 1
    others = (wishes.port, wishes.flower_port)
    return port if port not in others and why_taken(port) is None else None
