"""A highlight with the names that go with it: shown in a notebook, drawn, saved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attncli.data import Attention, Input
from attncli.engine.focus import FocusRequest
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.focus import find_focus
from attncli.store.files import write_atomic
from attncli.store.text import utf8
from attncli.studies.highlight.compute import highlight
from attncli.studies.highlight.result import Highlight

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("html", "svg", "png", "pdf")
_LONGEST_NAME = 40


@dataclass(frozen=True, eq=False)
class HighlightPage:
    """Attention on the text itself: the numbers (`highlight`), and the page that shows them.

    In a notebook it shows itself; `save("it.html")` writes HTML, SVG, PNG or PDF.
    """

    highlight: Highlight
    model: str = ""
    note: str = ""

    @property
    def html(self) -> str:
        """The page as one HTML document: no script, nothing loaded from anywhere."""
        from attncli.studies.highlight.html import page

        return page(self.highlight, model=self.model, note=self.note)

    def figure(self) -> Figure:
        """The page as a matplotlib figure."""
        from attncli.studies.highlight import figures as view

        return view.draw(self.highlight, model=self.model, note=self.note)

    def _repr_html_(self) -> str:
        from attncli.studies.highlight.html import embedded

        return embedded(self.html)

    def save(self, path: str | Path) -> Path:
        """Write the page, in the format that the suffix names; returns the path."""
        target = Path(path)
        format = target.suffix.lstrip(".").lower()
        if format not in FORMATS:
            raise UsageError(f"unknown format '{format}' of {target}: {did_you_mean(format, FORMATS)}")
        if format == "html":
            write_atomic(target, utf8(self.html))
        else:
            from attncli.plotting.render import render

            write_atomic(target, render(self.figure(), format, description=f"{self.model} {target.stem}"))
        return target


def highlights(maps: Sequence[Attention], inputs: Sequence[Input], looking: FocusRequest) -> Iterator[Highlight]:
    """One for each text and kind, of maps that are whole or only what was chosen of them."""
    there = {one.index: one for one in inputs}
    for attention in maps:
        sides = there[attention.text].sides(attention.kind)
        yield highlight(attention, sides, find_focus(looking.side(sides), looking.focus), looking)


def file_name(shown: Highlight, looking: FocusRequest, several_texts: bool) -> str:
    """`encoder-L03-H01-it`; without what differs from line to line, with the text's number where there are several."""
    layers, heads = ({getattr(line, name) for line in shown.lines} for name in ("layer", "head"))
    parts = [f"T{shown.text:03}"] if several_texts else []
    parts.append(shown.kind)
    parts += [_short("L", layers.pop())] if len(layers) == 1 else []
    parts += [_short("H", heads.pop())] if len(heads) == 1 else []
    parts += ["to"] if looking.direction == "to" else []
    word = re.sub(r"[^\w-]+", "-", looking.focus).strip("-")[:_LONGEST_NAME]
    return "-".join([*parts, word or "focus"])


def _short(letter: str, which: int | str) -> str:
    return f"{letter}{which:02}" if isinstance(which, int) else f"{letter}{which}" if letter == "L" else which
