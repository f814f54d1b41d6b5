"""Which token labels stand along an axis: as many as fit at a readable size, never one over another."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.axes import Axes

from attncli.data import Attention, Kind, LayerMaps, Tokens
from attncli.views._labels import labels, numbered
from attncli.views._text import DPI, SUBTITLE, measure, style

KIND_WORDS: dict[Kind, str] = {
    "encoder": "encoder self-attention",
    "decoder": "decoder self-attention",
    "cross": "cross-attention",
}
QUERY, KEY = "query token (looks from)", "key token (looked at)"
TICK = 10
_SMALLEST, _LARGEST = 6.0, 9.0
_PIXELS_PER_POINT = DPI / 72


@dataclass(frozen=True)
class Side:
    """The labels of one axis.

    at      cell numbers that get a label
    texts   those labels
    size    their size in points
    width   of the widest one in pixels
    step    from one label to the next, in cells
    flat    whether each is narrower than its cell
    """

    at: list[int]
    texts: list[str]
    size: float
    width: float
    step: int
    flat: bool


def side_of(
    shown: list[str], cell: float, factor: int = 1, *, positions: bool = True, largest: float = _LARGEST
) -> Side:
    """The labels that fit along cells of `cell` pixels, each standing for `factor` tokens.

    Where not every token has its label, each label bears its position too if `positions`.
    """
    size = min(largest, max(_SMALLEST, cell / _PIXELS_PER_POINT / 1.3))
    height = measure(shown, size)[1]
    step = max(1, math.ceil((height + 2) / cell))
    at = list(range(0, math.ceil(len(shown) / factor), step))
    thinned = positions and step * factor > 1
    texts = [numbered(shown[n * factor], n * factor) if thinned else shown[n] for n in at]
    width = measure(texts, size)[0]
    return Side(at, texts, size, width, step, step == 1 and width <= 0.9 * cell)


def sides_of(attention: Attention, maps: LayerMaps) -> tuple[list[str], list[str]]:
    """Labels of queries and keys; positions where a layer's maps have other lengths than the tokens."""
    _, queries, keys = maps.weights.shape
    return _labels_or_numbers(attention.queries, queries), _labels_or_numbers(attention.keys, keys)


def _labels_or_numbers(tokens: Tokens, length: int) -> list[str]:
    return labels(tokens) if len(tokens) == length else [str(n) for n in range(length)]


def put_ticks(axes: Axes, queries: Side, keys: Side) -> None:
    """Both axes' labels as ticks in the middle of their cells."""
    axes.tick_params(length=3, width=0.6, pad=2, color="#666666")
    axes.set_yticks([n + 0.5 for n in queries.at], labels=queries.texts, **style(queries.size))
    turned = 0 if keys.flat else 90
    axes.set_xticks([n + 0.5 for n in keys.at], labels=keys.texts, **style(keys.size, rotation=turned))


def put_titles(axes: Axes) -> None:
    """What the two axes are, in as many words as they are long."""
    box = axes.get_window_extent()
    axes.set_ylabel(_title(QUERY, box.height), **style(SUBTITLE))
    axes.set_xlabel(_title(KEY, box.width), **style(SUBTITLE))


def _title(words: str, room: float) -> str:
    return words if measure([words], SUBTITLE)[0] <= room else words.split()[0]


def layer_words(maps: LayerMaps) -> str:
    """`layer 3`, or how layers were joined."""
    return f"layer {maps.layer}" if isinstance(maps.layer, int) else f"{maps.layer} of layers"


def what_was_done(attention: Attention) -> list[str]:
    """How these maps differ from what the model computed, for the lines below the title."""
    words = ["pieces joined to words"] if attention.words else []
    return words + (["special tokens dropped, rows renormalised"] if attention.dropped_special else [])


def joined(*parts: str) -> str:
    """Those that are not empty, in one line."""
    return " · ".join(part for part in parts if part)
