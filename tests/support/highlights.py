"""Highlights made by hand, and a parser of their HTML: elements, texts, and class and tooltip of each token."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np

from attncli.data import Kind, Tokens
from attncli.data.tokens import Direction
from attncli.studies.highlight.result import Highlight, HighlightLine

OURS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p", "div", "i", "b", "span"),
    *("bdi", "section"),
}


def line(
    weights: list[float], positions: tuple[int, ...] = (0,), visible: list[bool] | None = None, **more: object
) -> HighlightLine:
    seen = np.ones(len(weights), bool) if visible is None else np.array(visible)
    named: dict[str, object] = {"layer": 3, "head": 1, "focus": "it", **more}
    return HighlightLine(positions=positions, weights=np.array(weights), visible=seen, **named)  # type: ignore[arg-type]


def of(
    tokens: Tokens,
    *lines: HighlightLine,
    direction: Direction = "from",
    kind: Kind = "encoder",
    focused: Tokens | None = None,
    words: bool = False,
) -> Highlight:
    return Highlight(kind, direction, tokens, tokens if focused is None else focused, lines, words=words)


@dataclass
class Read(HTMLParser):
    """The parsed page: its elements, its texts, and (text, class, tooltip) of each token."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    tokens: list[tuple[str, str, str]] = field(default_factory=list)
    in_text: bool = False

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def page(cls, html: str) -> Read:
        read = cls()
        read.feed(html)
        read.close()
        assert read.open == [], read.open
        return read

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        if tag != "meta":
            self.open.append(tag)
        if "t" in given.get("class", "").split():
            self.tokens.append(("", given["class"], given.get("title", "")))
        if tag == "p" and given.get("class", "").startswith("text"):
            self.texts.append("")
            self.in_text = True

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.in_text = self.in_text and tag != "p"

    def handle_data(self, data: str) -> None:
        classes = self.elements[-1][1].get("class", "").split() if self.elements else []
        if self.in_text:
            self.texts[-1] += data
        if "t" in classes and self.open[-1] in ("span", "bdi"):
            text, look, tooltip = self.tokens[-1]
            self.tokens[-1] = (text + data, look, tooltip)
