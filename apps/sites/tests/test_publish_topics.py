"""Which topics may be published for site_001, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apps.sites.publish_topics import (
    MAX_TOPIC_BYTES,
    problem_with_topic,
    reply_topic_of,
)

CODE = "site_001"
LONGEST = CODE + "/" + "x" * (MAX_TOPIC_BYTES - len(CODE) - 1)


@pytest.mark.parametrize(
    "topic",
    [
        "site_001/x",
        "site_001/gateway/g1/datalogger/monstro/15/input",
        "site_001/backend",
        "site_001/backend/other",
        "site_001/x/backend/status",
        "site_001/$SYS",
        "site_001/con spazi/è/日本/🌡",
        "site_001/site_0010",
        LONGEST,
    ],
)
def test_a_topic_of_the_site_may_be_published(topic):
    assert problem_with_topic(CODE, topic) is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "x",
        "site_001",
        "site_001/",
        "/site_001/x",
        "site_001//x",
        "site_001/x/",
        "site_001/x//y",
        "site_0010/x",
        "site_00/x",
        "SITE_001/x",
        " site_001/x",
        "site_001 /x",
        "site_002/site_001/x",
        "$SYS/broker/uptime",
        "$share/g/site_001/x",
        "$queue/site_001/x",
        "+/x",
        "#",
        "site_001/+",
        "site_001/#",
        "site_001/a+b",
        "site_001/a#",
        "site_001/a\0b",
        "site_001/a\nb",
        "site_001/a\x1fb",
        "site_001/a\x7fb",
        "site_001/a\x85b",
        "site_001/\ud800",
        "site_001/\ufffe",
        "site_001/\U0010ffff",
        "site_001/\ufdd0",
        "site_001/backend/status",
        LONGEST + "x",
        "site_001/" + "è" * 508,
        "site_001/" + "x" * 70_000,
    ],
)
def test_any_other_topic_is_refused_with_a_reason(topic):
    assert str(problem_with_topic(CODE, topic))


@given(
    code=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True),
    before=st.sampled_from(["", "$", "/"]),
    rest=st.text(
        st.one_of(st.sampled_from("/+#$\0\ud800.x0"), st.characters(codec=None)),
        max_size=1_100,
    ),
    between=st.sampled_from(["/", "", "0/", "//"]),
)
@example(code="a", before="", between="/", rest="backend/status")
def test_a_topic_that_passes_is_inside_the_site_and_can_be_sent(
    code, before, between, rest
):
    topic = before + code + between + rest
    if problem_with_topic(code, topic) is not None:
        return

    sent = topic.encode("utf-8")

    assert len(sent) <= MAX_TOPIC_BYTES
    assert topic.split("/")[0] == code
    assert all(topic.split("/"))
    assert len(topic.split("/")) > 1
    assert not set(topic) & set("+#\0")
    assert topic != f"{code}/backend/status"


@given(st.text(max_size=200))
def test_it_never_raises(topic):
    problem_with_topic(CODE, topic)


@pytest.mark.parametrize(
    ("topic", "reply"),
    [
        ("s/gateway/g/datalogger/t/1/input", "s/gateway/g/datalogger/t/1/output"),
        ("s/input/input", "s/input/output"),
        ("s/input/x", None),
        ("s/myinput", None),
        ("s/output", None),
    ],
)
def test_an_answer_comes_on_output_where_the_command_went_to_input(topic, reply):
    assert reply_topic_of(topic) == reply
