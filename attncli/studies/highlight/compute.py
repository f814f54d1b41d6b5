"""Attention from chosen words to the text, or from the text to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from attncli.data import Array, Attention, LayerMaps, Tokens
from attncli.engine.focus import FocusRequest, all_positions
from attncli.inputs.focus import FocusMatch
from attncli.studies.highlight.result import Highlight, Highlighted


def highlight(
    attention: Attention, sides: tuple[Tokens, Tokens], found: Sequence[FocusMatch], looking: FocusRequest
) -> Highlight:
    """What the maps of one text and kind say of these places; the maps are whole, or only what was chosen of them.

    sides  the query and key tokens of the whole text
    """
    focused, painted = sides if looking.direction == "from" else sides[::-1]
    chosen = all_positions(found)
    shown = attention.queries if looking.direction == "from" else attention.keys
    rows = chosen if len(shown) == len(focused) else np.arange(len(chosen))
    combined: tuple[int | str, ...] = (attention.aggregate,)
    lines = [
        line
        for maps in attention.layers
        for at, head in enumerate(maps.heads or combined)
        for line in _lines(_turned(maps, at, rows, looking), (maps.layer, head), found, chosen, looking)
    ]
    return Highlight(
        attention.kind,
        looking.direction,
        painted,
        focused,
        tuple(lines),
        attention.text,
        attention.words,
        attention.dropped_special,
    )


def _turned(maps: LayerMaps, at: int, rows: Array, looking: FocusRequest) -> tuple[Array, Array]:
    """Weights and visibility [chosen token, painted token] of one head."""
    weights = np.asarray(maps.weights[at], np.float64)
    visible = np.ones_like(weights, bool) if maps.visible is None else maps.visible[min(at, len(maps.visible) - 1)]
    if looking.direction == "to":
        weights, visible = weights.T, visible.T
    return weights[rows], visible[rows]


def _lines(
    map_: tuple[Array, Array],
    place: tuple[int | str, int | str],
    found: Sequence[FocusMatch],
    chosen: Array,
    looking: FocusRequest,
) -> Iterator[Highlighted]:
    for one in found:
        own = np.searchsorted(chosen, one.positions)
        weights, visible = map_[0][own], map_[1][own]
        seen: Array = np.logical_or.reduce(visible, axis=0)
        yield Highlighted(*place, one.name, one.positions, _combined(weights, looking), seen)


def _combined(weights: Array, looking: FocusRequest) -> Array:
    """From several tokens the mean over those whose row is defined, to them the sum."""
    if looking.direction == "to":
        summed: Array = weights.sum(0)
        return summed
    defined = ~np.isnan(weights).all(1)
    if not defined.any():
        return np.full(weights.shape[1], np.nan)
    mean: Array = weights[defined].mean(0)
    return mean
