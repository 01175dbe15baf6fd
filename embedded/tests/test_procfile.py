from __future__ import annotations

import pytest

from embedded.procfile import ProcfileError, parse, read_procfile


def test_it_reads_names_and_commands_in_order():
    text = "# what runs\n\nweb: uvicorn app:x --port $PORT\n  beat:celery beat  \n"

    assert list(parse(text).items()) == [
        ("web", "uvicorn app:x --port $PORT"),
        ("beat", "celery beat"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web uvicorn", "line 1 is not 'name: command'"),
        ("web:   ", "line 1 is not 'name: command'"),
        ("we b: x", "line 1 is not 'name: command'"),
        ("web: a\n\nweb: b", "line 3: 'web' is there twice"),
        ("postgres: x", "'postgres' is a reserved name"),
        ("# nothing\n", "names no process"),
    ],
)
def test_it_refuses_what_it_does_not_understand(text, message):
    with pytest.raises(ProcfileError, match=message):
        parse(text)


def test_it_says_when_the_file_is_missing(tmp_path):
    with pytest.raises(ProcfileError, match="cannot read"):
        read_procfile(tmp_path / "Procfile")
