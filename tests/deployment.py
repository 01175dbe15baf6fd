"""What the sources read from the environment, and what the files beside them say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent

_READERS = {"text", "secret", "number", "boolean", "choice", "words", "url"}
_READ_BY_SHELL = re.compile(r"\$\$?\{?([A-Z][A-Z0-9_]+)")
_NOT_OURS = {"PATH", "SYS"}  # the shell's; a topic of MQTT, $SYS


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def compose_services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(text_of("docker-compose.yml"))[
        "services"
    ]
    return services


def variables_read() -> set[str]:
    """Return every variable that settings, commands, Procfile, compose or `up` read."""
    files = ["embedded/environment.py", "docker/health.py"]
    for folder in ("apps", "project", "workers"):
        found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py"))
        files += [str(path) for path in found if "tests" not in path.parts]
    names = {name for file in files for name, _ in reads_in(file)}
    for file in ("Procfile", "docker-compose.yml"):
        lines = [
            line for line in text_of(file).splitlines() if line.lstrip()[:1] != "#"
        ]
        names |= set(_READ_BY_SHELL.findall("\n".join(lines)))
    return {name.removesuffix("_FILE") for name in names} - _NOT_OURS


def reads_in(file: str) -> Iterator[tuple[str, ast.AST | None]]:
    """Yield variable and default (a node) of each read from the environment."""
    for node in ast.walk(ast.parse(text_of(file))):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            yield from _named([node.slice], None)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.startswith("env.") and called[4:] in _READERS:
            keyword = next((k.value for k in node.keywords if k.arg == "default"), None)
            positional = node.args[1] if len(node.args) > 1 else None
            is_url = called == "env.url"  # its second argument is the schemes
            yield from _named(node.args, None if is_url else keyword or positional)
        elif called in ("os.environ.get", "environ.get"):
            yield from _named(node.args, None)
        elif node.args and ast.unparse(node.args[0]) == "environ":
            yield from _named(node.args[1:], None)


def _named(
    arguments: list[ast.expr], default: ast.AST | None
) -> Iterator[tuple[str, ast.AST | None]]:
    if arguments and isinstance(arguments[0], ast.Constant):
        name = arguments[0].value
        if isinstance(name, str) and name.isupper():
            yield name, default


def variables_of_example() -> dict[str, str]:
    """Return variable and value of each line of .env.example, commented or not."""
    lines = re.findall(
        r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", text_of(".env.example"), re.M
    )
    return dict(lines)


def variables_of_readme() -> dict[str, str]:
    """Return variable and default of each row of the README's table."""
    rows = re.findall(
        r"^\| `([A-Z][A-Z0-9_]+)`(?: °)? \| (.*?) \|", text_of("README.md"), re.M
    )
    return dict(rows)


def commands_of(name: str) -> list[str]:
    """Return the shell commands that a document shows, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text_of(name), re.M | re.S)
    lines = "\n".join(blocks).splitlines()
    commands = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    return [command for command in commands if command]
