"""EMAIL_URL taken apart."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.email_url import EmailUrl

HOST = "mail.example.com"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("", EmailUrl()),
        ("smtp://mail.example.com", EmailUrl(HOST, 25)),
        ("smtp://mail.example.com?tls=1", EmailUrl(HOST, 587, use_tls=True)),
        ("smtp://mail.example.com:2525/?tls=false", EmailUrl(HOST, 2525)),
        ("smtps://mail.example.com", EmailUrl(HOST, 465, use_ssl=True)),
        ("smtps://mail.example.com?tls=1", EmailUrl(HOST, 465, use_ssl=True)),
        (
            "smtp://me%40example.com:p%2Fw%3A@mail.example.com:587?tls=true",
            EmailUrl(HOST, 587, "me@example.com", "p/w:", use_tls=True),
        ),
    ],
)
def test_it_takes_a_url_apart(url, wanted):
    assert EmailUrl.parse(url) == wanted


@pytest.mark.parametrize(
    "rest",
    [
        "smtp://", "http://x", "x", "smtp://x:0", "smtp://x:99999", "smtp://x:y",
        "smtp://x/path", "smtp://x?ssl=1", "smtp://x?tls=perhaps", "smtp://x?tls",
        "smtp://[::1", "smtp://x#y",
    ],
)  # fmt: skip
def test_it_refuses_others_and_repeats_no_password(rest):
    url = rest.replace("smtp://", "smtp://me:canary@")

    with pytest.raises(ImproperlyConfigured) as refused:
        EmailUrl.parse(url)

    assert "canary" not in str(refused.value)
    assert "EMAIL_URL" in str(refused.value)
