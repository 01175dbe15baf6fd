"""Texts of strangers, made fit to be looked at."""

from __future__ import annotations


def readable(text: str) -> str:
    """Return the text with control and direction-changing characters spelled out."""
    return "".join(
        letter
        if letter.isprintable() or letter in "\n\t"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )
