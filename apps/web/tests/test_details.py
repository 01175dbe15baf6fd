"""What workers say of a trouble is read in the reader's language."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.conf import settings
from django.utils.translation import gettext, override

from apps.telemetry.protocols.errors import JsonInvalidError
from apps.telemetry.protocols.payloads import strict_json
from apps.web.details import OURS, in_words

ROOT: Path = settings.BASE_DIR
# Those that write a detail, and what carries one there.
SOURCES = [
    *sorted((ROOT / "apps/telemetry/protocols").glob("*.py")),
    *(
        ROOT / f"workers/{name}.py"
        for name in ("faults", "connection", "spec", "farewell", "outbox", "discovery")
    ),
    ROOT / "workers/listening.py",
]
NAMES = {"message", "msg", "words", "problem", "detail", "closed", "_too_much"}
CALLS = {"Fault", "Bad", "_fail", "_report", "_end", "_not_sent", "_unconfirmed"}
RETURNING = {"_unknown"}
# Of paths in a mapping: its form says it in words of its own.
ELSEWHERE = {"paths.py"}
# Sentences that are put together, and what comes of them.
COMPOSED = {
    "Connection lost'x'": ["Connection lost", "Connection lost (the broker said 0x8E)"],
    "The connection to the broker 'x'": [
        "The connection to the broker was lost",
        "The connection to the broker was closed before an answer",
    ],
}
# Of apps.sites, about a worker that has gone.
OF_OURS = "The worker ended before it heard from the broker"


def example(node: ast.expr) -> str:
    """Return a sentence as it may come out; empty if it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "'x'"
            for part in node.values
        )
    if isinstance(node, ast.IfExp):
        return example(node.body) or example(node.orelse)
    if isinstance(node, ast.BoolOp):
        return example(node.values[-1])
    return ""


def said_in(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in NAMES:
                found.add(example(value))
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=value) if (
                name in NAMES
            ):
                found.add(example(value))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if (
                name in CALLS
            ):
                arguments = [*node.args, *(k.value for k in node.keywords)]
                found |= {example(argument) for argument in arguments}
            case ast.FunctionDef(name=name) if name in RETURNING:
                found |= {
                    example(each.value)
                    for each in ast.walk(node)
                    if isinstance(each, ast.Return) and each.value is not None
                }
            case _:
                pass
    sentences = {text for text in found if " " in text}
    whole = {text for part in sentences for text in COMPOSED.get(part, [part])}
    return whole


def test_it_finds_what_they_say():
    assert "version 'x' is not known" in said_in(
        ROOT / "apps/telemetry/protocols/decode.py"
    )
    assert "The host did not answer in time" in said_in(ROOT / "workers/faults.py")
    assert "It was down" in said_in(ROOT / "workers/outbox.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_sentence_of_theirs_is_known(path):
    if path.name in ELSEWHERE:
        return

    with override("it"):
        unknown = {text for text in said_in(path) if in_words(text) == text}

    assert unknown == set()


def test_every_known_sentence_is_still_said():
    said = {text for path in SOURCES for text in said_in(path)} | {OF_OURS}
    with override("it"):
        heard = {in_words(text) for text in said}
        starts = {gettext(each).split("%(")[0] for each in OURS}

    assert {s for s in starts if not any(h.startswith(s) for h in heard)} == set()


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{", b'{"a":1,}', b'{"a" 1}', b"{1:2}", b'"a\nb"', b"1 2", b"\\"),
        *(b'"\\x"', b'"\\ud800"', b"01", b"[" * 2_000, b'{"a":1e999}', b'"\xff"'),
    ],
)
def test_what_the_json_parser_says_is_known(payload):
    with pytest.raises(JsonInvalidError) as caught:
        strict_json(payload)

    with override("it"):
        words = in_words(str(caught.value))

    said, place = str(caught.value).split(": line")
    assert said not in words
    assert words.endswith(
        place.replace("column", "colonna").replace("char", "carattere")
    )


def test_what_is_between_the_words_stays_and_what_is_unknown_too():
    with override("it"):
        assert in_words("version '9' is not known") == "la versione '9' non è nota"
        assert in_words("The broker refused us: Not authorized") == (
            "Il broker ci ha rifiutato: Non autorizzato"
        )
        assert in_words("[Errno 111] Connection refused") == (
            "[Errno 111] Connection refused"
        )
        assert in_words("") == ""
    with override("en"):
        assert in_words("It was down") == "It was down"
