"""A highlight as a page: shown in a notebook, drawn, saved."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from attncli.arguments import PictureArguments, checks_arguments
from attncli.data.described import Described
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import text_note, text_prefix
from attncli.errors import UsageError, did_you_mean
from attncli.store.files import write_atomic
from attncli.store.text import utf8
from attncli.studies.highlight.result import Highlight
from attncli.vocabulary import HIGHLIGHT_FORMATS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attncli.data import RunInfo

_LONGEST_NAME = 40


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class HighlightPage(Described):
    """Attention on the text itself; a notebook shows it, `save("it.html")` writes HTML, SVG, PNG or PDF.

    highlight  the numbers
    model      name of the model in the title
    note       further line below the title
    kinds      what the title calls the kind of attention
    """

    highlight: Highlight
    model: str = ""
    note: str = ""
    kinds: KindNames = KNOWN

    @property
    def html(self) -> str:
        """The page as one HTML document without scripts; it loads nothing."""
        from attncli.studies.highlight.html import page

        return page(self.highlight, model=self.model, note=self.note, kinds=self.kinds)

    def figure(self, **look: Unpack[PictureArguments]) -> Figure:
        """Return the page as a matplotlib figure.

        look  figsize, dpi, cmap, title and font, as in `attncli.PictureArguments`
        """
        from attncli.plotting.picture_style import changed_style
        from attncli.studies.highlight import figures as view

        with changed_style(look):
            return view.draw(self.highlight, model=self.model, note=self.note, kinds=self.kinds)

    def _repr_html_(self) -> str:
        from attncli.studies.highlight.html import embedded

        return embedded(self.html)

    def save(self, path: str | Path, **look: Unpack[PictureArguments]) -> Path:
        """Write the page in the format of the suffix; return the path.

        look  how a picture looks, as for `figure`
        """
        target = Path(path)
        format = target.suffix.lstrip(".").lower()
        if format not in HIGHLIGHT_FORMATS:
            raise UsageError(f"unknown format '{format}' of {target}: {did_you_mean(format, HIGHLIGHT_FORMATS)}")
        if format == "html":
            write_atomic(target, utf8(self.html))
        else:
            from attncli.plotting.picture_style import changed_style
            from attncli.plotting.render import render

            with changed_style(look):
                write_atomic(target, render(self.figure(), format, description=f"{self.model} {target.stem}"))
        return target

    def _lines(self) -> Iterable[str]:
        of = f" of {self.model}" if self.model else ""
        yield f'HighlightPage{of}: a notebook shows it, .save("it.html") writes it'
        yield repr(self.highlight).splitlines()[0]


def page_of_run(highlight: Highlight, info: RunInfo, texts: int) -> HighlightPage:
    """Return the page of a highlight of one of several texts of a run."""
    return HighlightPage(highlight, **info.captions(text_note(highlight.text, texts)))


def file_name(highlight: Highlight, focus: str, texts: int) -> str:
    """Return `encoder-L03-H01-it`: without what differs between lines, with the number of one text of several."""
    text = text_prefix(highlight.text, texts).rstrip("-")
    numbers = (_short(*entry) for entry in highlight.common.items())
    direction = "to" if highlight.direction == "to" else ""
    word = re.sub(r"[^\w-]+", "-", focus).strip("-")[:_LONGEST_NAME] or "focus"
    return "-".join(filter(None, (text, highlight.kind, *numbers, direction, word)))


def _short(axis: str, number: int | str) -> str:
    if isinstance(number, int):
        return f"{axis[0].upper()}{number:02}"
    return f"L{number}" if axis == "layer" else number
