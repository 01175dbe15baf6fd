"""The files that people deploy by say what the code does; no Docker, no network."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import subprocess

import pytest
from django.core.management import get_commands

from embedded import arguments, bootstrap
from embedded.procfile import read_procfile
from tests.deployment import (
    ROOT,
    commands_of,
    compose_services,
    reads_in,
    text_of,
    variables_of_example,
    variables_of_readme,
    variables_read,
)

ONE_SHOT = {"migrate"}
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)


@pytest.mark.parametrize("name", read_procfile(ROOT / "Procfile"))
def test_compose_runs_the_command_of_the_procfile(name):
    command = read_procfile(ROOT / "Procfile")[name]

    service = compose_services()[name]

    assert service["command"] == ["sh", "-c", "exec " + command.replace("$", "$$")]


def test_compose_runs_nothing_else_but_servers_and_the_preparation():
    others = set(compose_services()) - set(read_procfile(ROOT / "Procfile"))

    assert others == {"postgres", "redis", "mosquitto", *ONE_SHOT}


@pytest.mark.parametrize("name", compose_services())
def test_a_container_can_do_little_and_comes_back(name):
    service = compose_services()[name]

    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert service["stop_grace_period"] == "30s"
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert ("healthcheck" in service) is (name not in ONE_SHOT)


def test_only_the_pages_and_flower_are_published_and_both_on_loopback():
    published = {n: s["ports"] for n, s in compose_services().items() if "ports" in s}

    assert published == {
        "web": ["${HOST:-127.0.0.1}:${PORT:-8000}:8000"],
        "flower": ["127.0.0.1:${FLOWER_PORT:-5555}:5555"],
    }


def test_every_process_waits_for_what_it_needs():
    for name in read_procfile(ROOT / "Procfile"):
        conditions = compose_services()[name]["depends_on"]

        assert conditions == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
        }


@pytest.mark.parametrize("name", sorted({*read_procfile(ROOT / "Procfile"), "migrate"}))
def test_a_container_keeps_its_name_at_the_brokers(name):
    """Its own hostname changes, and with it would the client ids."""
    variables = compose_services()[name]["environment"]

    assert variables["MQTT_INSTANCE_ID"] == "${MQTT_INSTANCE_ID:-guardiano}"


def test_redis_evicts_nothing_and_its_password_is_on_no_command_line():
    service = compose_services()["redis"]

    script = service["command"][2]

    assert "--maxmemory-policy noeviction" in script
    assert "--appendonly yes" in script
    assert "requirepass" not in script.splitlines()[0]


def test_the_example_lists_every_variable_and_no_other():
    assert set(variables_of_example()) == variables_read()


def test_the_readme_lists_every_variable_and_no_other():
    assert set(variables_of_readme()) == variables_read()


def test_the_readme_and_the_example_tell_the_settings_defaults():
    told, example = variables_of_readme(), variables_of_example()

    for name, node in reads_in("project/settings.py"):
        if isinstance(node, ast.Constant) and node.value not in ("", None):
            default = str(node.value)
            default = default.lower() if isinstance(node.value, bool) else default
            assert told[name] == f"`{default}`", name
            assert example[name] == default, name


def test_the_example_holds_no_secret():
    secrets = {"SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "FLOWER_BASIC_AUTH"}
    secrets |= {name for name in variables_read() if name.endswith("PASSWORD")}

    filled = {
        n for n, value in variables_of_example().items() if n in secrets and value
    }

    assert filled == set()


def test_the_example_says_which_secrets_may_be_in_files():
    told = set(re.findall(r"`([A-Z_]+)` °", text_of("README.md")))

    intro = text_of(".env.example").split("\n\n")[0]

    for name in told:
        assert name in intro


def test_the_image_runs_as_nobody_of_importance():
    users = re.findall(r"^USER (\d+):(\d+)$", text_of("Dockerfile"), re.M)

    assert users == [("10001", "10001")]
    assert compose_services()["web"]["user"] == ":".join(users[0])


def test_the_image_takes_only_locked_packages():
    source = text_of("Dockerfile")

    assert "--require-hashes --only-binary :all:" in source
    assert f"--no-binary {bootstrap.SOURCE_ONLY} " in source


def test_the_image_has_what_the_redis_transport_imports():
    """It is an extra of kombu's, and pytest would hide that it is missing."""
    extra = [
        re.split(r"[^A-Za-z0-9_-]", text)[0].lower()
        for text in importlib.metadata.requires("kombu") or []
        if 'extra == "redis"' in text
    ]

    locked = re.findall(r"^([a-z0-9-]+)==", text_of("requirements/base.txt"), re.M)

    assert extra
    assert set(extra) <= set(locked)


def test_the_build_context_is_what_the_image_copies():
    lines = [line for line in text_of(".dockerignore").splitlines() if line[:1] != "#"]

    allowed = {line[1:] for line in lines if line.startswith("!")}

    assert lines[0] == "*"
    assert all((ROOT / path).exists() for path in allowed)
    assert not any("env" in path for path in allowed)
    assert {"**/tests", "**/*.mo"} <= set(lines)


def test_ci_can_be_run_and_is_valid_shell():
    script = ROOT / ".ci" / "run"

    checked = subprocess.run(["bash", "-n", script], check=False, capture_output=True)

    assert os.access(script, os.X_OK)
    assert checked.returncode == 0, checked.stderr


def test_the_readme_is_short():
    assert len(text_of("README.md").splitlines()) < 200


@pytest.mark.parametrize("name", ["README.md", "README.it.md"])
def test_the_commands_of_a_readme_exist(name):
    commands = commands_of(name)

    assert commands
    for command in commands:
        assert _exists(command), command


def _exists(command: str) -> bool:
    words = [w for w in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=\S*", w)]
    match words:
        case ["python3", "dev.py", "manage", name, *_]:
            return name in get_commands()
        case ["python3", "dev.py", "test", *rest]:
            return all((ROOT / word).exists() for word in rest if "/" in word)
        case ["python3", "dev.py", *rest]:
            return bool(arguments.parse(rest).command == rest[0])
        case ["docker", "compose", "up", *_]:
            return True
        case [
            "docker",
            "compose",
            "run",
            "--rm",
            service,
            "python",
            "manage.py",
            *rest,
        ]:
            return service in compose_services() and rest[0] in get_commands()
        case ["set", "-a;", *_]:
            return "python3 dev.py env" in command
        case ["cp", source, _]:
            return (ROOT / source).is_file()
        case [program]:
            return os.access(ROOT / program, os.X_OK)
    return False


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files(name):
    folder = (ROOT / name).parent

    for target in re.findall(r"\]\(([^)#]+)\)", text_of(name)):
        assert target.startswith("https://") or (folder / target).exists(), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_named_in_documents_exist(name):
    named = re.findall(
        r"`((?:apps|workers|project|tests|embedded|docs)/[\w/.-]+)`", text_of(name)
    )

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_decisions_are_short_and_complete():
    notes = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [note.name[:3] for note in notes] == [
        f"{n + 1:03}" for n in range(len(notes))
    ]
    for note in notes:
        source = note.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 30, note.name
        assert source.startswith(f"# {note.name[:3]} "), note.name
        assert re.search(r"^\d{4}-\d\d-\d\d$", source, re.M), note.name
        for part in ("Situation.", "Choice.", "Cost.", "We would notice"):
            assert f"**{part}" in source, (note.name, part)
        assert f"decisions/{note.name}" in text_of("docs/README.md")
