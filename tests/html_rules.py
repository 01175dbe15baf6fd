"""Says what is wrong with a page's HTML, as the standard sees it.

html5lib finds what a parser stumbles over. What it puts up with in silence, such as a
button in a link or a paragraph in a `<span>`, is looked for here. The pages were held
against the W3C's own checker (vnu, November 2026): it found nothing that this does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from html5lib import HTMLParser

TEMPLATE = re.compile(r"<template\b[^>]*>(.*?)</template>", re.DOTALL)

# Source: HTML Living Standard, 3.2.5.2.5 (phrasing content), as far as we use it.
PHRASING = {
    *("a", "abbr", "b", "br", "button", "code", "datalist", "em", "i", "img", "input"),
    *("label", "meter", "noscript", "output", "progress", "script", "select", "small"),
    *("span", "strong", "sub", "sup", "svg", "template", "textarea", "time", "wbr"),
}
HOLDS_PHRASING = {
    *("b", "button", "code", "dt", "em", "h1", "h2", "h3", "h4", "i", "label"),
    *("legend", "output", "p", "pre", "small", "span", "strong", "summary", "time"),
}
PRESSED = {"a", "button", "details", "input", "label", "select", "summary", "textarea"}
CHILDREN = {
    "ul": {"li", "script", "template"},
    "ol": {"li", "script", "template"},
    "dl": {"dt", "dd", "div", "script", "template"},
    "select": {"option", "optgroup", "hr"},
    "datalist": {"option"},
    "tr": {"td", "th"},
}
HAS_NO_ROLE = {"b", "code", "div", "em", "i", "p", "pre", "small", "span", "strong"}
ONCE = {"title", "main", "h1"}


def problems_of(html: str) -> list[str]:
    """Return what is wrong with a whole page, and with its templates."""
    rows = TEMPLATE.findall(html)  # html5lib does not know <template>
    page = HTMLParser(namespaceHTMLElements=False)
    tree = page.parse(TEMPLATE.sub("", html))
    found = [*_stumbles(page), *_nesting(tree), *_ids(tree)]
    for tag in ONCE:
        if (count := len(list(tree.iter(tag)))) != 1:
            found.append(f"{count} <{tag}>")
    for row in rows:
        parser = HTMLParser(namespaceHTMLElements=False)
        fragment = parser.parseFragment(row.strip(), container="tbody")
        found += [*_stumbles(parser), *_nesting(fragment)]
    return found


def _stumbles(parser: HTMLParser) -> Iterator[str]:
    for (line, column), code, values in parser.errors:
        yield f"{code} {values or ''} at {line}:{column}"


def _nesting(tree: Element) -> Iterator[str]:
    for parent in tree.iter():
        tag, words = _tag(parent), " ".join("".join(parent.itertext()).split())[:60]
        below = {_tag(child) for child in parent}
        allowed = PHRASING if tag in HOLDS_PHRASING else CHILDREN.get(tag, below)
        for wrong in below - allowed:
            yield f"<{wrong}> in <{tag}>: {words}"
        if tag in ("a", "button"):
            inside = [_tag(each) for each in parent.iter() if each is not parent]
            for wrong in PRESSED & {*inside}:
                yield f"<{wrong}> in <{tag}>: {words}"
        names = {"aria-label", "aria-labelledby"} & {*parent.attrib}
        if names and tag in HAS_NO_ROLE and "role" not in parent.attrib:
            yield f"a name for <{tag}>, which has no role: {words}"


def _tag(element: Element) -> str:
    """Return the name alone, of foreign elements (svg) as well; "" of a comment."""
    tag: object = element.tag  # a comment's is a function
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _ids(tree: Element) -> Iterator[str]:
    ids = [each.attrib["id"] for each in tree.iter() if "id" in each.attrib]
    for name in {name for name in ids if ids.count(name) > 1 or not name.strip()}:
        yield f"id not unique: {name!r}"
