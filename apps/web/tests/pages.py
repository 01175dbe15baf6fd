"""Reads a page as a strict browser would: what is wrong with it, and its texts."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "hr", "wbr"}
UNSEEN = {"script", "style", "title"}
REFERENCES = ("for", "aria-labelledby", "aria-describedby", "form")


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self._references: set[str] = set()
        if not html.startswith("<!doctype html>"):
            self.problems.append("no doctype")
        self.feed(html)
        self.close()
        self._finish()

    def handle_starttag(self, tag, attrs):
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if len(found) != len(attrs):
            self.problems.append(f"<{tag}> repeats an attribute")
        self._look_at(tag, found)
        if "id" in found:
            self.ids.append(found["id"])
        for name in REFERENCES:
            self._references.update(found.get(name, "").split())
        if tag not in VOID:
            self._open.append(tag)

    def _look_at(self, tag, found):
        for name in found:
            if name == "style" or name.startswith("on"):
                self.problems.append(f"<{tag}> has {name}")
        if tag == "img" and "alt" not in found:
            self.problems.append("<img> without alt")
        is_data = found.get("type") == "application/json"
        is_ours = found.get("src", "").startswith("/static/")
        if tag == "script" and not is_data and not is_ours:
            self.problems.append(f"<script> {found}")

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes something else")

    def handle_data(self, data):
        if data.strip() and not UNSEEN & set(self._open):
            self.texts.append(" ".join(data.split()))

    def _finish(self):
        if self._open:
            self.problems.append(f"left open: {self._open}")
        repeated = {name for name in self.ids if self.ids.count(name) > 1}
        if repeated:
            self.problems.append(f"ids not unique: {repeated}")
        if dangling := self._references - set(self.ids):
            self.problems.append(f"points at nothing: {dangling}")

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def with_attribute(
        self, name: str, value: str | None = None
    ) -> list[dict[str, str]]:
        return [
            found
            for _, found in self.elements
            if name in found and value in (None, found[name])
        ]


def page_of(response) -> Page:
    return Page(response.content.decode())
