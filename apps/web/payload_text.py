"""Payloads as people read them: text where it is text, bytes where it is not. Pure."""

from __future__ import annotations

import re

BYTES_SHOWN = 32  # of what is no text
# What a page must not carry: control characters, other than those of lines and tables.
_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def payload_text(payload: bytes, *, chars: int, size: int | None = None) -> str:
    """Return at most so many characters; an ellipsis says that there is more.

    Args:
        payload: what is there of it.
        chars: of the text.
        size: of the whole payload, if only its beginning is there.
    """
    is_cut = size is not None and size > len(payload)
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        # The cut may go through a letter of up to four bytes.
        if not is_cut or error.start < len(payload) - 3:
            return _bytes_text(payload, is_cut=is_cut)
        text = payload[: error.start].decode("utf-8")
    shown = _UNFIT.sub("�", text[:chars])
    return f"{shown}…" if is_cut or len(text) > chars else shown


def _bytes_text(payload: bytes, *, is_cut: bool) -> str:
    shown = payload[:BYTES_SHOWN].hex(" ")
    return f"{shown} …" if is_cut or len(payload) > BYTES_SHOWN else shown
