"""A highlight as one HTML page: no script, nothing loaded from anywhere, light and dark, for screen and paper."""

import base64
import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import escape_invisible
from attncli.plotting.highlight_colours import DARK_PAGE, LIGHT_PAGE, readable_ink
from attncli.studies.highlight import passage
from attncli.studies.highlight.coloured import ColouredText, coloured_highlight, colours_of
from attncli.studies.highlight.passage import TextCell, TextLine
from attncli.studies.highlight.result import Highlight

_ASSETS = Path(__file__).parent / "assets"
_DARK = (
    ":root { --paper: DARK_PAGE; --ink: #ececec; --faint: #a9adb6; --rule: #3a3e47; --unseen: #8b8f98; "
    "--hatch: #6b7180; }"
)


def page(highlight: Highlight, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> str:
    """Return the page: for each line of the highlight the text with a colour and a tooltip for each token."""
    return text_page(coloured_highlight(highlight, model, note, kinds))


def text_page(text: ColouredText) -> str:
    """Return the page of a text with weights."""
    css = stylesheet(text.signed)
    return _template().render(
        title=text.title,
        below=list(map(escape_invisible, text.below)),
        css=css,
        hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        levels=range(text.levels),
        ticks=text.ticks,
        unit=text.unit,
        looks=text.looks,
        lines=list(map(_template_values, text.lines)),
    )


def embedded(html: str) -> str:
    """Return the page within an iframe, as a notebook shows it: its styles do not reach the notebook."""
    rows = html.count("<section") * 6 + len(html) // 9000 + 10
    return (
        f'<iframe srcdoc="{escape(html)}" sandbox="" title="attention highlighted on the text" '
        f'width="100%" height="{min(900, 24 * rows)}" style="border: 0"></iframe>'
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_ASSETS, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("highlight.html")


@cache
def stylesheet(signed: bool = False) -> str:
    """Return all styles of the page, with a class for each colour: its policy allows no styles elsewhere.

    signed  whether the colours are those of both signs
    """
    css = _ASSETS.joinpath("highlight.css").read_text(encoding="utf-8").replace("PAPER", LIGHT_PAGE)
    dark = "\n".join([_DARK.replace("DARK_PAGE", DARK_PAGE), *_level_classes(signed, dark=True)])
    media = f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"
    return "\n".join(["", *css.splitlines(), *_level_classes(signed), media, ""])


def _level_classes(signed: bool, dark: bool = False) -> Iterator[str]:
    for level, colour in enumerate(colours_of(signed, dark)):
        yield f".c{level} {{ background: {colour}; color: {readable_ink(colour)}; }}"


def _template_values(line: TextLine) -> dict[str, Any]:
    return {
        "caption": line.caption,
        "cells": list(map(_cell, line.cells)),
        "direction": _direction(line.cells),
        "other": list(map(_cell, line.other)),
        "other_direction": _direction(line.other),
        "strongest": line.strongest,
    }


def _direction(cells: Sequence[TextCell]) -> str:
    return "rtl" if passage.right_to_left(cells) else "ltr"


def _cell(cell: TextCell) -> dict[str, Any]:
    """Return the template values of one cell."""
    state = {"drawn": f"c{cell.level}", "between": ""}.get(cell.state, cell.state)
    # bold type and margins keep letters of cursive scripts from joining
    cursive = any(unicodedata.bidirectional(char) == "AL" for char in cell.text)
    kinds = {"special": cell.special, "cursive": cursive, "focus": cell.focus}
    look = filter(None, ("t", *(name for name, holds in kinds.items() if holds), state))
    return {**vars(cell), "look": " ".join(look), "tooltip": _tooltip(cell)}


def _tooltip(cell: TextCell) -> str:
    """Return the tooltip of a cell: its weight, its name and the positions of its tokens."""
    if cell.state == "between":
        return ""
    first, last = cell.positions[0], cell.positions[-1]
    tokens = f"token {first}" if len(cell.positions) == 1 else f"tokens {first}-{last}"
    value = {"drawn": passage.format_weight(cell.weight), "unseen": "no weight"}.get(cell.state, "undefined")
    return f"{value} · {passage.cell_name(cell)} · {tokens}{' · focus' if cell.focus else ''}"
