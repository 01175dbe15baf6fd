"""Every pair of colours that meets on a page is readable, in both schemes (WCAG AA)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

STATIC = Path(settings.BASE_DIR) / "apps/web/static/web"
TOKEN = re.compile(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);")

TEXT, GRAPHIC = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11
GROUNDS = ("ground", "surface", "sunken")
TONES = ("green", "blue", "orange", "red", "grey")
PAIRS = [
    *((text, back, TEXT) for text in ("text", "muted", "link") for back in GROUNDS),
    ("on-accent", "accent", TEXT),
    *((f"{tone}-text", f"{tone}-back", TEXT) for tone in TONES),
    *((f"{tone}-text", "surface", TEXT) for tone in TONES),
    ("red-text", "ground", TEXT),
    ("muted", "grey-back", TEXT),  # greyed while the stream is away
    *((f"{tone}-line", "surface", GRAPHIC) for tone in TONES),
    *(("focus", back, GRAPHIC) for back in GROUNDS),
    *(("edge", back, GRAPHIC) for back in ("surface", "ground")),
    ("accent", "surface", GRAPHIC),
    *((f"series-{number}", "surface", GRAPHIC) for number in range(1, 7)),
]


def tokens(place: int) -> dict[str, str]:
    css = (STATIC / "tokens.css").read_text("utf-8")
    return {found[1]: found[place] for found in TOKEN.finditer(css)}


def luminance(colour: str) -> float:
    """Source: WCAG 2.2, relative luminance."""

    def linear(part: str) -> float:
        share = int(part, 16) / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(colour[at : at + 2]) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_it_computes_contrast_as_the_standard_says():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back", "least"), PAIRS)
def test_it_is_readable(front, back, least, scheme):
    colours = tokens(("light", "dark").index(scheme) + 2)

    assert contrast(colours[front], colours[back]) >= least


def test_it_names_every_colour_once_and_uses_no_other():
    for path in STATIC.glob("*.css"):
        if path.name != "tokens.css":
            found = set(
                re.findall(r"#[0-9a-fA-F]{3,8}\b(?!-)", path.read_text("utf-8"))
            )
            assert found == set(), path.name


def test_it_uses_only_tokens_that_exist():
    css = "".join(path.read_text("utf-8") for path in STATIC.glob("*.css"))

    assert set(re.findall(r"var\(--([\w-]+)", css)) <= set(
        re.findall(r"--([\w-]+):", css)
    )
