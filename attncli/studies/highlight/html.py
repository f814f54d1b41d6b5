"""A highlight as one page of HTML: no script, nothing loaded from anywhere, light and dark, for screen and paper."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from attncli.data.labels import escape_invisible
from attncli.plotting.highlight_colours import LEVELS, NIGHT, PAPER, colours, ink
from attncli.studies.highlight.passage import (
    Cell,
    caption,
    legend,
    lines_below,
    marked,
    named,
    number,
    painted,
    passage,
    right_to_left,
    strongest,
    title,
    unit,
)
from attncli.studies.highlight.result import Highlight, HighlightLine

_ASSETS = Path(__file__).parent / "assets"
_NIGHT = ":root { --paper: NIGHT; --ink: #ececec; --faint: #a9adb6; --rule: #3a3e47; --unseen: #8b8f98; }"


def page(highlight: Highlight, *, model: str = "", note: str = "") -> str:
    """The text with a colour behind each token, for each line of a highlight; weights stand in tooltips too."""
    cells = passage(highlight.painted, highlight.words)
    other = passage(highlight.focused, highlight.words) if highlight.across else []
    lines = [_line(highlight, line, painted(highlight, line, cells), other) for line in highlight.lines]
    states = {cell.state for line in lines for cell in line["cells_of"]}
    css = stylesheet()
    hash_ = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    top = highlight.top
    return (
        _environment()
        .get_template("highlight.html")
        .render(
            title=title(highlight),
            below=list(map(escape_invisible, lines_below(highlight, model, note))),
            css=css,
            hash=hash_,
            levels=range(LEVELS),
            ticks=[number(top * part / 4) for part in range(5)],
            unit=unit(highlight),
            looks=legend(highlight, states),
            lines=lines,
        )
    )


def embedded(html: str) -> str:
    """The page within another one, as a notebook shows it: its styles stay its own."""
    rows = html.count("<section") * 6 + len(html) // 9000 + 10
    return (
        f'<iframe srcdoc="{escape(html)}" sandbox="" title="attention highlighted on the text" '
        f'width="100%" height="{min(900, 24 * rows)}" style="border: 0"></iframe>'
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_ASSETS, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def stylesheet() -> str:
    """All styles of the page: one class per colour, as the page's own policy allows no styles elsewhere."""
    written = _ASSETS.joinpath("highlight.css").read_text(encoding="utf-8").replace("PAPER", PAPER)
    dark = "\n".join([_NIGHT.replace("NIGHT", NIGHT), *_levels(dark=True)])
    return "\n".join(
        ["", *written.splitlines(), *_levels(), f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}", ""]
    )


def _levels(dark: bool = False) -> Iterator[str]:
    for level, colour in enumerate(colours(dark)):
        yield f".c{level} {{ background: {colour}; color: {ink(colour)}; }}"


def _line(highlight: Highlight, line: HighlightLine, cells: Sequence[Cell], other: Sequence[Cell]) -> dict[str, Any]:
    context = marked(line, other)
    return {
        "caption": caption(highlight, line),
        "cells_of": cells,
        "cells": [_shown(cell) for cell in cells],
        "direction": _direction(cells),
        "other": [_shown(cell) for cell in context],
        "other_direction": _direction(context),
        "strongest": strongest(cells),
    }


def _direction(cells: Sequence[Cell]) -> str:
    return "rtl" if right_to_left(cells) else "ltr"


def _shown(cell: Cell) -> dict[str, Any]:
    look = ["t", *(["special"] if cell.special else []), *(["focus"] if cell.focus else [])]
    look += {"drawn": [f"c{cell.level}"], "between": []}.get(cell.state, [cell.state])
    return {"text": cell.text, "at": cell.at, "special": cell.special, "look": " ".join(look), "says": _says(cell)}


def _says(cell: Cell) -> str:
    """The tooltip: the weight in numbers, and which token it is."""
    if cell.state == "between":
        return ""
    which = f"token {cell.at[0]}" if len(cell.at) == 1 else f"tokens {cell.at[0]}-{cell.at[-1]}"
    value = number(cell.weight) if cell.state == "drawn" else "no weight" if cell.state == "unseen" else "undefined"
    return f"{value} · {named(cell)} · {which}{' · focus' if cell.focus else ''}"
