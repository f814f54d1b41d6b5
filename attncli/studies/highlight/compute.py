"""Attention from chosen tokens to the text, or from the text to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from attncli.data import Array, Attention, Direction, Input, LayerMaps, Tokens
from attncli.engine.focus import FocusRequest, all_positions
from attncli.inputs.focus import FocusMatch, find_focus
from attncli.studies.highlight.result import Highlight, HighlightLine


def highlights(maps: Sequence[Attention], inputs: Sequence[Input], focus: FocusRequest) -> Iterator[Highlight]:
    """Yield one highlight for each text and kind; the maps are whole, or hold only the rows or columns of the focus."""
    texts = {text.index: text for text in inputs}
    for attention in maps:
        sides = texts[attention.text].sides(attention.kind)
        yield highlight(attention, sides, find_focus(focus.side(sides), focus.wanted), focus)


def highlight(
    attention: Attention, sides: tuple[Tokens, Tokens], matches: Sequence[FocusMatch], focus: FocusRequest
) -> Highlight:
    """Return the highlight of one text and kind.

    attention  full maps, or only the rows or columns of the focus
    sides      the query and key tokens of the whole text
    matches    where the focus occurs
    """
    focus_tokens, text_tokens = sides if focus.direction == "from" else sides[::-1]
    chosen = all_positions(matches)
    shown = attention.queries if focus.direction == "from" else attention.keys
    rows = chosen if len(shown) == len(focus_tokens) else np.arange(len(chosen))
    combined: tuple[int | str, ...] = (attention.aggregate,)
    lines = [
        line
        for maps in attention.layers
        for number, head in enumerate(maps.heads or combined)
        for line in _lines(
            _weights_and_visibility(maps, number, rows, focus.direction), (maps.layer, head), matches, chosen, focus
        )
    ]
    return Highlight(
        attention.kind,
        focus.direction,
        text_tokens,
        focus_tokens,
        tuple(lines),
        attention.text,
        attention.words,
        attention.dropped_special,
    )


def _weights_and_visibility(maps: LayerMaps, number: int, rows: Array, direction: Direction) -> tuple[Array, Array]:
    """Return weights and visibility of one head: [focus token, text token]."""
    weights = np.asarray(maps.weights[number], np.float64)
    visible = np.ones_like(weights, bool)
    if maps.visible is not None:
        visible = maps.visible[min(number, len(maps.visible) - 1)]
    if direction == "to":
        weights, visible = weights.T, visible.T
    return weights[rows], visible[rows]


def _lines(
    head_map: tuple[Array, Array],
    head: tuple[int | str, int | str],
    matches: Sequence[FocusMatch],
    chosen: Array,
    focus: FocusRequest,
) -> Iterator[HighlightLine]:
    for match in matches:
        rows = np.searchsorted(chosen, match.positions)
        visible: Array = np.logical_or.reduce(head_map[1][rows], axis=0)
        weights = _combined(head_map[0][rows], focus.direction)
        yield HighlightLine(*head, match.name, match.positions, weights, visible)


def _combined(weights: Array, direction: Direction) -> Array:
    """Return the mean over the rows of a focus that are defined; to a focus, the sum over its columns."""
    if direction == "to":
        summed: Array = weights.sum(0)
        return summed
    defined = ~np.isnan(weights).all(1)
    if not defined.any():
        return np.full(weights.shape[1], np.nan)
    mean: Array = weights[defined].mean(0)
    return mean
