"""Which token labels stand along an axis: as many as fit at a readable size, never one over another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from attncli.data import Attention, Kind, LayerMaps, Tokens, TokenWindow
from attncli.data.labels import label_with_position, labels
from attncli.plotting.text import DPI, SUBTITLE, measure, style

KIND_WORDS: dict[Kind, str] = {
    "encoder": "encoder self-attention",
    "decoder": "decoder self-attention",
    "cross": "cross-attention",
}
QUERY, KEY = "query token (looks from)", "key token (looked at)"
QUERY_AT, KEY_AT = "query position (looks from)", "key position (looked at)"
TICK = 10
_SMALLEST, _LARGEST = 6.0, 9.0
_POSITION, _APART = 8.0, 80
_PIXELS_PER_POINT = DPI / 72


@dataclass(frozen=True)
class AxisTokens:
    """The labels of one axis.

    at      where along the axis a label stands, in cells
    texts   those labels
    size    their size in points
    width   of the widest one in pixels
    step    from one label to the next, in cells
    flat    whether each is narrower than its cell, or its place
    tokens  whether labels are tokens and not only positions
    """

    at: list[float]
    texts: list[str]
    size: float
    width: float
    step: int
    flat: bool
    tokens: bool = True


def side_of(
    shown: list[str], cell: float, factor: int = 1, *, positions: bool = True, largest: float = _LARGEST
) -> AxisTokens:
    """The labels that fit along cells of `cell` pixels, each standing for `factor` tokens.

    Where not every token has its label, each label bears its position too if `positions`.
    """
    size = min(largest, max(_SMALLEST, cell / _PIXELS_PER_POINT / 1.3))
    height = measure(shown, size)[1]
    step = max(1, math.ceil((height + 2) / cell))
    at = list(range(0, math.ceil(len(shown) / factor), step))
    thinned = positions and step * factor > 1
    texts = [label_with_position(shown[n * factor], n * factor) if thinned else shown[n] for n in at]
    width = measure(texts, size)[0]
    return AxisTokens([n + 0.5 for n in at], texts, size, width, step, step == 1 and width <= 0.9 * cell)


def axis_of(attention: Attention, axis: int, shown: list[str], cell: float, factor: int, **more: Any) -> AxisTokens:
    """The labels of the queries (axis 0) or keys (axis 1): tokens of a whole text, or of a window where all fit.

    Elsewhere round positions. `shown` are the labels of all tokens, or cells; `factor` of them share `cell` pixels.
    """
    stretch = attention.sides[axis]
    if attention.window is not None and stretch.cell == 1:
        placed = [label_with_position(name, stretch.first + n) for n, name in enumerate(shown)]
        side = side_of(placed, cell, factor, **{**more, "positions": False})
        if side.step * factor == 1:
            return side
    elif attention.pool == "none":
        return side_of(shown, cell, factor, **more)
    return positions(stretch, cell / (stretch.cell * factor), cell)


def positions(stretch: TokenWindow, token: float, cell: float) -> AxisTokens:
    """Round positions along an axis of which each token has `token` pixels."""
    height = measure([], _POSITION)[1]
    widest = measure([str(stretch.last)], _POSITION)[0]
    step = _round_step(max(_APART, widest + 2 * height) / token)
    places = range(-(-stretch.first // step) * step, stretch.last + 1, step)
    at = [(place - stretch.first + 0.5) * token / cell for place in places]
    return AxisTokens(at, [str(place) for place in places], _POSITION, widest, step, True, tokens=False)


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, … that is no smaller than this."""
    power = int(10 ** max(0, math.floor(math.log10(least))))
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= least)


def sides_of(attention: Attention, maps: LayerMaps) -> tuple[list[str], list[str]]:
    """Labels of queries and keys; positions where a layer's maps have other lengths than the tokens."""
    _, queries, keys = maps.weights.shape
    return _labels_or_numbers(attention.queries, queries), _labels_or_numbers(attention.keys, keys)


def _labels_or_numbers(tokens: Tokens, length: int) -> list[str]:
    return labels(tokens) if len(tokens) == length else [str(n) for n in range(length)]


def draw_ticks(axes: Axes, queries: AxisTokens, keys: AxisTokens) -> None:
    """Both axes' labels as ticks in the middle of their cells."""
    axes.tick_params(length=3, width=0.6, pad=2, color="#666666")
    axes.set_yticks(queries.at, labels=queries.texts, **style(queries.size))
    draw_key_ticks(axes, keys)


def draw_key_ticks(axes: Axes, keys: AxisTokens) -> None:
    """The labels of the lower axis, upright where they are narrower than their cells."""
    axes.tick_params(length=3, width=0.6, pad=2, color="#666666")
    turned = 0 if keys.flat else 90
    axes.set_xticks(keys.at, labels=keys.texts, **style(keys.size, rotation=turned))


def draw_titles(axes: Axes, queries: AxisTokens, keys: AxisTokens, query: str = QUERY, key: str = KEY) -> None:
    """What the two axes are, in as many words as they are long."""
    box = axes.get_window_extent()
    axes.set_ylabel(fitted(query if queries.tokens else QUERY_AT, box.height), **style(SUBTITLE))
    axes.set_xlabel(fitted(key if keys.tokens else KEY_AT, box.width), **style(SUBTITLE))


def fitted(words: str, room: float) -> str:
    """The title of an axis, its first word where there is no room for more."""
    return words if measure([words], SUBTITLE)[0] <= room else words.split()[0]


def layer_words(maps: LayerMaps) -> str:
    """`layer 3`, or how layers were joined."""
    return f"layer {maps.layer}" if isinstance(maps.layer, int) else f"{maps.layer} of layers"


def describe_processing(attention: Attention) -> list[str]:
    """How these maps differ from what the model computed, for the lines below the title."""
    norms = attention.by == "norm"
    words = ["value-weighted norms"] if norms else []
    words += ["pieces joined to words"] if attention.words else []
    words += ["special tokens dropped" + ("" if norms else ", rows renormalised")] if attention.dropped_special else []
    if attention.window is not None:
        words.append("{} {}-{}, {} {}-{}".format("queries", *attention.window[0], "keys", *attention.window[1]))
    return words


def pooling(attention: Attention, down: int, across: int) -> str:
    """What a cell of a picture that joins `down` x `across` cells of the maps is of; nothing for one weight."""
    rows, keys = attention.cell
    if attention.pool == "mean" and max(down, across) > 1:
        return f"each cell is the mean of {down} x {across} means of {rows} x {keys} {attention.by}s"
    if max(down * rows, across * keys) == 1:
        return ""
    what = "mean" if attention.pool == "mean" else "largest"
    return f"each cell is the {what} of {down * rows} x {across * keys} {attention.by}s"


def joined(*parts: str) -> str:
    """Those that are not empty, in one line."""
    return " · ".join(part for part in parts if part)
