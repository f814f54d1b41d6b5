"""The cells of a highlighted text: the text put together again from its tokens, each with its weight."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from attncli.data import Tokens
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import EMPTY, escape_invisible, label, piece_text
from attncli.data.text_cells import split_cells
from attncli.inputs.rows_as import is_written
from attncli.plotting.axis import join_parts
from attncli.plotting.highlight_colours import colour_level
from attncli.studies.highlight.result import Highlight, HighlightLine

State = Literal["between", "drawn", "unseen", "undefined"]
STRONGEST = 5
_LONGEST_GAP, _LONGEST_SPECIAL = 80, 80
_JOINERS = "\u200c\u200d"
_RIGHT_TO_LEFT = ("R", "AL")


@dataclass(frozen=True)
class TextCell:
    """A part of the text: of one token, of several tokens that share a character, or of no token.

    text       the text with control and direction characters escaped; spaces and line breaks are themselves
    positions  positions of its tokens; empty between tokens
    special    whether it is a special token
    state      between: no token; drawn: has a colour; unseen: masked; undefined: no number
    weight     of a drawn cell: the sum over its tokens of weights from the focus, or the mean of weights to it
    level      number of its colour
    focus      whether one of its tokens is in the focus
    """

    text: str
    positions: tuple[int, ...] = ()
    special: bool = False
    state: State = "between"
    weight: float = 0.0
    level: int = 0
    focus: bool = False


def text_cells(tokens: Tokens, words: bool = False) -> list[TextCell]:
    """Return the text as cells without weights: one for each token and one for each gap between tokens.

    Tokens that split a letter and its marks share a cell.

    words  whether the tokens are words and not pieces
    """
    split = split_cells(tokens, words)
    cells: list[TextCell] = []
    end_of_text = 0
    for positions, (start, end) in zip(split.positions, split.spans.tolist(), strict=True):
        if start < 0:
            (position,) = positions
            cells += _cells_without_text(tokens, position, words, cells)
            # in the text of a chat template, special tokens are written out
            if tokens.special[position] and split.text.startswith(tokens.pieces[position], end_of_text):
                end_of_text += len(tokens.pieces[position])
        else:
            cells += _cells_in_text(split.text, positions, slice(start, end), split.text[end_of_text:start])
            end_of_text = end
    if split.text[end_of_text:].strip() and end_of_text:
        cells.append(TextCell(" …"))
    if cells and cells[0] == TextCell(" "):
        cells = cells[1:]
    return cells[:-1] if cells and cells[-1] == TextCell(" ") else cells


def _cells_in_text(text: str, positions: tuple[int, ...], span: slice, gap: str) -> Iterator[TextCell]:
    """Yield the cell of one or several tokens that cover a part of the text, between those of the space around it."""
    covered = text[span]
    before, core, after = re.fullmatch(r"(\s*)(.*?)(\s*)", covered, re.DOTALL).groups()  # type: ignore[union-attr]
    if shown_gap := _gap(gap + (before if core else "")):
        yield TextCell(shown_gap)
    yield TextCell(_visible(core or covered, text[span.stop :]) if covered.strip(" ") else covered, positions)
    if shown_gap := _gap(after if core else "".join(char for char in covered if char == "\n")):
        yield TextCell(shown_gap)


def _visible(text: str, following: str) -> str:
    """Return text with invisible characters escaped, but for a joiner at its end that shapes the next letter."""
    bare = text.rstrip(_JOINERS)
    joins = bare and not bare[-1].isascii() and following[:1].isalpha()
    return escape_invisible(bare) + text[len(bare) :] if joins else escape_invisible(text)


def _gap(text: str) -> str:
    """Return text that no token covers: space as it is, other characters visible, and a long gap as an ellipsis."""
    text = text.replace("\r\n", "\n").replace("\t", " ")
    if len(text) > _LONGEST_GAP and text.strip():
        return " … "
    return "".join(
        char if char in "\n\u3000" else " " if unicodedata.category(char) == "Zs" else escape_invisible(char)
        for char in text
    )


def _cells_without_text(tokens: Tokens, position: int, words: bool, previous: Sequence[TextCell]) -> Iterator[TextCell]:
    """Yield the cells of a token without a part of the text: a special token, or one of foreign maps."""
    piece = tokens.pieces[position]
    needs_space = bool(previous) and not previous[-1].text.endswith((" ", "\n"))
    if tokens.special[position]:
        yield from (TextCell(" "),) if needs_space else ()
        yield TextCell(label(piece, width=_LONGEST_SPECIAL), (position,), special=True)
        yield TextCell(" ")
        return
    scheme = "plain" if words else tokens.scheme
    text = piece_text(piece, scheme)
    joins = scheme in ("bytelevel", "metaspace") or (scheme == "wordpiece" and piece.startswith("##"))
    if needs_space and (text.strip(" ") or not text) and (not joins or text.startswith(" ")):
        yield TextCell(" ")
    core = text.removeprefix("##") if scheme == "wordpiece" else text
    yield TextCell(escape_invisible(core.strip(" ")) if core.strip(" ") else core or EMPTY, (position,))


def weighted_cells(highlight: Highlight, line: HighlightLine, cells: Sequence[TextCell]) -> list[TextCell]:
    """Return the cells with the weights of one line of a highlight."""
    focus = set() if highlight.across else set(line.positions)
    weighted = []
    for cell in cells:
        positions = list(cell.positions)
        if not positions:
            weighted.append(cell)
            continue
        drawn = [position for position in positions if line.drawn[position]]
        # a query without any weight is undefined, whatever its mask is
        absent = line.visible[positions] | np.isnan(line.weights[positions])
        state: State = "drawn" if drawn else "undefined" if absent.any() else "unseen"
        weight = float(np.sum(line.weights[drawn], dtype=np.float64))
        if highlight.direction == "to":
            weight /= max(1, len(drawn))
        level, in_focus = colour_level(weight, highlight.top), bool(focus.intersection(positions))
        weighted.append(replace(cell, state=state, weight=weight, level=level, focus=in_focus))
    return weighted


def right_to_left(cells: Sequence[TextCell]) -> bool | None:
    """Return whether the first letter belongs to a script that is read from the right; None without a letter."""
    for cell in cells:
        for char in "" if cell.special else cell.text:
            if (direction := unicodedata.bidirectional(char)) in ("L", *_RIGHT_TO_LEFT):
                return direction in _RIGHT_TO_LEFT
    return None


def format_weight(weight: float) -> str:
    """Return a weight as text.

    >>> format_weight(0.67712), format_weight(-0.2), format_weight(0.0), format_weight(0.00001234)
    ('0.677', '-0.200', '0', '1.2e-05')
    """
    return f"{weight:.3f}" if abs(weight) >= 0.001 else f"{weight:.2g}"


def strongest_tokens(cells: Sequence[TextCell]) -> list[tuple[str, str]]:
    """Return name and weight of the cells with the weights farthest from 0; equal names get a position too."""
    drawn = sorted((cell for cell in cells if cell.state == "drawn"), key=lambda cell: -abs(cell.weight))[:STRONGEST]
    names = [cell_name(cell) for cell in drawn]
    return [
        (f"{name} ({cell.positions[0]})" if names.count(name) > 1 else name, format_weight(cell.weight))
        for name, cell in zip(names, drawn, strict=True)
    ]


def cell_name(cell: TextCell) -> str:
    """Return the text of a cell for use outside of the text, where a space must be visible."""
    return cell.text if cell.text.strip(" ") else escape_invisible(cell.text)


@dataclass(frozen=True)
class TextLine:
    """One line of a highlight as text.

    caption    what identifies the line: its layer and head where there are several, and its focus
    cells      the text with weights
    other      the text that contains the focus, if it is another one
    strongest  name and weight of the cells with the largest weights
    """

    caption: str
    cells: list[TextCell]
    other: list[TextCell]
    strongest: list[tuple[str, str]]

    @property
    def strongest_text(self) -> str:
        """The strongest cells on one line."""
        return "strongest:   " + ("   ".join(f"{name} {weight}" for name, weight in self.strongest) or "none")


def text_lines(highlight: Highlight) -> list[TextLine]:
    """Return all lines of a highlight."""
    cells = text_cells(highlight.weighted, highlight.words)
    other = text_cells(highlight.focused, highlight.words) if highlight.across else []
    lines = []
    for line in highlight.lines:
        weighted, marked = weighted_cells(highlight, line, cells), set(line.positions)
        context = [replace(cell, focus=not marked.isdisjoint(cell.positions)) for cell in other]
        lines.append(TextLine(_caption(highlight, line), weighted, context, strongest_tokens(weighted)))
    return lines


def highlight_title(highlight: Highlight, kinds: KindNames = KNOWN) -> str:
    """Return what all lines have in common: kind, layer, head."""
    return join_parts(
        kinds.title(highlight.kind) or "attention", *(_numbered(*entry) for entry in highlight.common.items())
    )


def _caption(highlight: Highlight, line: HighlightLine) -> str:
    first, last = line.positions[0], line.positions[-1]
    unit = f"{_focus_side(highlight)}{'word' if highlight.words else 'token'}"
    count = last - first + 1
    where = f"{unit} {first}" if count == 1 else f"{unit}s {first}-{last}"
    where = where if len(line.positions) == count else f"{len(line.positions)} {unit}s"
    numbers = {"layer": line.layer, "head": line.head}
    different = [_numbered(*entry) for entry in numbers.items() if entry[0] not in highlight.common]
    focus = where if line.focus == f"{first}-{last}" else f"{escape_invisible(line.focus)} ({where})"
    return join_parts(*different, f"{highlight.direction} {focus}")


def _focus_side(highlight: Highlight) -> str:
    """Return `target ` or `source `, the text that the focus is in, where that is another one than the weights'."""
    if not highlight.across:
        return ""
    return "target " if highlight.direction == "from" else "source "


def _numbered(axis: str, number: int | str) -> str:
    return f"{axis} {number}" if isinstance(number, int) else f"{number} of {axis}s"


def lines_below(highlight: Highlight, model: str, note: str) -> list[str]:
    """Return the lines below the title: the model, how the maps were processed, and advice."""
    merged = "pieces merged into words" if highlight.words else ""
    dropped = "special tokens dropped, rows renormalised" if highlight.dropped_special else ""
    ordinary = [line.weights[line.drawn & ~highlight.weighted.special] for line in highlight.lines]
    faint = max((float(weights.max(initial=0.0)) for weights in ordinary), default=0.0) < highlight.top / 4
    advice = "special tokens are the strongest: --special drop shows the rest" if faint else ""
    written = highlight.direction == "from" and any(is_written(line.focus) for line in highlight.lines)
    says = written or highlight.across or highlight.rows_as == "predicted"
    rows = f"rows as {highlight.rows_as}" if says else ""
    return list(filter(None, (model, join_parts(rows, merged, dropped, note, advice))))


def scale_ticks(highlight: Highlight) -> list[str]:
    """Return the numbers below the colour bar."""
    return [format_weight(highlight.top * part / 4) for part in range(5)]


def scale_label(highlight: Highlight) -> str:
    """Return the label of the colour bar."""
    return f"attention weight {highlight.direction} the marked word (fraction)"


def legend_entries(highlight: Highlight, lines: Sequence[TextLine]) -> list[tuple[State | Literal["focus"], str]]:
    """Return (look, meaning) of each look without a colour that occurs; the first is that of the focus."""
    states = {cell.state for line in lines for cell in line.cells}
    masked = "masked key" if highlight.direction == "from" else "query for which the focus is masked"
    meanings: dict[State | Literal["focus"], str] = {"focus": "focus", "unseen": masked, "undefined": "undefined"}
    return [(look, meaning) for look, meaning in meanings.items() if look in ("focus", *states)]
