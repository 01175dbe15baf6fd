from __future__ import annotations

import pytest

from project.broker_url import BrokerUrl, BrokerUrlError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://h", BrokerUrl("h", 1883)),
        ("mqtt://h:2883/", BrokerUrl("h", 2883)),
        ("mqtts://h", BrokerUrl("h", 8883, use_tls=True)),
        ("mqtt://u@h", BrokerUrl("h", 1883, "u")),
        ("mqtt://u%2F:p%40:%C3%A8@h:1", BrokerUrl("h", 1, "u/", "p@:è")),
        ("mqtt://[::1]:1883", BrokerUrl("::1", 1883)),
    ],
)
def test_it_takes_a_url_apart(url: str, expected: BrokerUrl):
    assert BrokerUrl.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:1883",
        "http://u:secret@h",
        "mqtt://u:secret@",
        "mqtt://u:secret@h:0",
        "mqtt://u:secret@h:65536",
        "mqtt://u:secret@h:port",
        "mqtt://u:secret@h/path",
        "mqtt://u:secret@h?x=1",
        "mqtt://u:secret@[::1",
    ],
)
def test_it_refuses_another_form_without_repeating_it(url: str):
    with pytest.raises(BrokerUrlError) as caught:
        BrokerUrl.parse(url)

    assert "secret" not in str(caught.value)


def test_the_password_is_in_no_printed_form():
    url = BrokerUrl.parse("mqtt://u:secret@h")

    assert "secret" not in f"{url} {url!r}"
