"""A text put together again from its tokens, each with its weight: what every kind of highlight shows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from attncli.data import Tokens
from attncli.data.labels import EMPTY, escape_invisible, label, piece_text
from attncli.plotting.axis import KIND_WORDS, joined
from attncli.plotting.highlight_colours import level
from attncli.studies.highlight.result import Highlight, HighlightLine

State = Literal["between", "drawn", "unseen", "undefined"]
_LONGEST_BETWEEN = 80
STRONGEST = 5
_RIGHT_TO_LEFT = ("R", "AL")


@dataclass(frozen=True)
class Cell:
    """A part of the text: of one token, of several that share a character, or of none.

    text     as it is shown: nothing in it can hide or turn the text around; spaces and line breaks are themselves
    at       positions of its tokens
    special  whether it is a special token
    state    between tokens; drawn with a colour; a token that may not be seen, or does not see; undefined
    weight   of what is drawn: from the focus the sum over its tokens, to it the mean
    level    which of the colours it has
    focus    whether the focus is there
    """

    text: str
    at: tuple[int, ...] = ()
    special: bool = False
    state: State = "between"
    weight: float = 0.0
    level: int = 0
    focus: bool = False


def passage(tokens: Tokens, words: bool = False) -> list[Cell]:
    """The text with a cell for each token and for what stands between; no weights yet."""
    cells: list[Cell] = []
    reached, last = 0, 0
    for at, (start, end) in enumerate(tokens.offsets.tolist()):
        if not 0 <= start < end:
            cells += _apart(tokens, at, words, cells)
        elif start >= reached:
            came = list(_placed(tokens, at, reached))
            last = len(cells) + next(n for n, cell in enumerate(came) if cell.at)
            cells += came
            reached = end
        else:  # several tokens in one character
            cells[last] = replace(cells[last], at=(*cells[last].at, at))
    if tokens.text[reached:].strip() and reached:
        cells.append(Cell(" …"))
    return cells[:-1] if cells and cells[-1] == Cell(" ") else cells


def _placed(tokens: Tokens, at: int, reached: int) -> Iterator[Cell]:
    """A token where it stands in the text, after what lies before it."""
    start, end = tokens.offsets[at].tolist()
    whole = tokens.text[start:end]
    before, written, after = re.fullmatch(r"(\s*)(.*?)(\s*)", whole, re.DOTALL).groups()  # type: ignore[union-attr]
    if between := _between(tokens.text[reached:start] + (before if written else "")):
        yield Cell(between)
    yield Cell(escape_invisible(written or whole) if whole.strip(" ") else whole, (at,))
    if after := _between(after if written else "".join(char for char in whole if char == "\n")):
        yield Cell(after)


def _between(text: str) -> str:
    """What no token covers: space as it is, all else visible; a long part is left out."""
    text = text.replace("\r\n", "\n")
    if len(text) > _LONGEST_BETWEEN and text.strip():
        return " … "
    return "".join(_space(char) for char in text)


def _space(char: str) -> str:
    if char in "\n\u3000":
        return char
    return " " if char == "\t" or unicodedata.category(char) == "Zs" else escape_invisible(char)


def _apart(tokens: Tokens, at: int, words: bool, before: Sequence[Cell]) -> Iterator[Cell]:
    """A token that has no place in the text: a special one, one that the model wrote, one of maps from elsewhere."""
    piece = tokens.pieces[at]
    ends_open = bool(before) and not before[-1].text.endswith((" ", "\n"))
    if tokens.special[at]:
        yield from (Cell(" "),) if ends_open else ()
        yield Cell(label(piece), (at,), special=True)
        yield Cell(" ")
        return
    scheme = "plain" if words else tokens.scheme
    text = piece_text(piece, scheme)
    joins = scheme in ("bytelevel", "metaspace") or (scheme == "wordpiece" and piece.startswith("##"))
    if ends_open and (text.strip(" ") or not text) and (not joins or text.startswith(" ")):
        yield Cell(" ")
    core = text.removeprefix("##") if scheme == "wordpiece" else text
    yield Cell(escape_invisible(core.strip(" ")) if core.strip(" ") else core or EMPTY, (at,))


def painted(highlight: Highlight, line: HighlightLine, cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a passage with the weights of one line."""
    focus = set() if highlight.across else set(line.at)
    top, drawn = highlight.top, line.drawn
    found = []
    for cell in cells:
        at = list(cell.at)
        if not at:
            found.append(cell)
            continue
        there = [place for place in at if drawn[place]]
        state: State = "drawn" if there else "undefined" if line.visible[at].any() else "unseen"
        summed = float(np.sum(line.weights[there], dtype=np.float64))
        weight = summed / max(1, len(there)) if highlight.direction == "to" else summed
        mark = bool(focus.intersection(at))
        found.append(replace(cell, state=state, weight=weight, level=level(weight, top), focus=mark))
    return found


def marked(line: HighlightLine, cells: Sequence[Cell]) -> list[Cell]:
    """The cells of the text that has the focus but no weights."""
    return [replace(cell, focus=bool(set(line.at).intersection(cell.at))) for cell in cells]


def right_to_left(cells: Sequence[Cell]) -> bool:
    """Whether the first letter of the text belongs to a script that is read from the right."""
    return bool(direction(cells))


def direction(cells: Sequence[Cell]) -> bool | None:
    """The same; None where there is no letter."""
    for cell in cells:
        for char in "" if cell.special else cell.text:
            if (strong := unicodedata.bidirectional(char)) in ("L", *_RIGHT_TO_LEFT):
                return strong in _RIGHT_TO_LEFT
    return None


def number(weight: float) -> str:
    """A weight for people.

    >>> number(0.67712), number(0.0), number(0.00001234)
    ('0.677', '0', '1.2e-05')
    """
    return f"{weight:.3f}" if weight >= 0.001 else f"{weight:.2g}"


def strongest(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """What has the largest weights, and these; the position too where two look alike."""
    drawn = sorted((cell for cell in cells if cell.state == "drawn"), key=lambda cell: -cell.weight)[:STRONGEST]
    names = [named(cell) for cell in drawn]
    return [
        (f"{name} ({cell.at[0]})" if names.count(name) > 1 else name, number(cell.weight))
        for name, cell in zip(names, drawn, strict=True)
    ]


def named(cell: Cell) -> str:
    """What a cell is called apart from the text: a space is shown there."""
    return cell.text if cell.text.strip(" ") else escape_invisible(cell.text)


def title(highlight: Highlight) -> str:
    """What all lines have in common: kind, layer, head."""
    layers, heads = ({getattr(line, name) for line in highlight.lines} for name in ("layer", "head"))
    return joined(
        KIND_WORDS[highlight.kind],
        _numbered("layer", layers.pop()) if len(layers) == 1 else "",
        _numbered("head", heads.pop()) if len(heads) == 1 else "",
    )


def caption(highlight: Highlight, line: HighlightLine) -> str:
    """What is special to one line: its layer and head where there are several, and its focus."""
    layers, heads = ({getattr(each, name) for each in highlight.lines} for name in ("layer", "head"))
    first, last = line.at[0], line.at[-1]
    where = f"token {first}" if len(line.at) == 1 else f"tokens {first}-{last}"
    if highlight.words:
        where = where.replace("token", "word")
    return joined(
        _numbered("layer", line.layer) if len(layers) > 1 else "",
        _numbered("head", line.head) if len(heads) > 1 else "",
        f"{highlight.direction} {escape_invisible(line.focus)} ({where})",
    )


def _numbered(what: str, which: int | str) -> str:
    return f"{what} {which}" if isinstance(which, int) else f"{which} of {what}s"


def lines_below(highlight: Highlight, model: str, note: str) -> list[str]:
    """The lines below the title: the model, what was done, and what to try."""
    done = ["pieces joined to words"] if highlight.words else []
    done += ["special tokens dropped, rows renormalised"] if highlight.dropped_special else []
    tried = "special tokens are the strongest: --special drop shows the rest" if _faint(highlight) else ""
    return [line for line in (model, joined(*done, note, tried)) if line]


def _faint(highlight: Highlight) -> bool:
    """Whether special tokens leave little colour to all others."""
    others = [line.weights[line.drawn & ~highlight.painted.special] for line in highlight.lines]
    return max((float(each.max(initial=0.0)) for each in others), default=0.0) < highlight.top / 4


def unit(highlight: Highlight) -> str:
    """What the colour bar shows."""
    if highlight.direction == "from":
        return "attention weight from the marked word (fraction)"
    return "attention weight to the marked word (fraction)"


def legend(highlight: Highlight, states: set[State]) -> list[tuple[str, str]]:
    """Name and meaning of each look that occurs besides colours."""
    missing = "may not be seen from there" if highlight.direction == "from" else "may not see it"
    found = [("focus", "the word looked from" if highlight.direction == "from" else "the word looked at")]
    found += [("unseen", missing)] if "unseen" in states else []
    return found + ([("undefined", "undefined")] if "undefined" in states else [])
