"""Attention from chosen tokens to the text, or from the text to them."""

from collections.abc import Iterator, Sequence

import numpy as np

from attncli.data import Array, Attention, Direction, Input, LayerMaps
from attncli.engine.focus import FocusRequest
from attncli.inputs.rows_as import predicting_rows
from attncli.studies.highlight.result import Highlight, HighlightLine


def highlights(maps: Sequence[Attention], inputs: Sequence[Input], focus: FocusRequest) -> Iterator[Highlight]:
    """Yield one highlight for each text and kind; the maps are whole, or hold only the rows or columns of the focus."""
    texts = {text.index: text for text in inputs}
    for attention in maps:
        text = texts[attention.text]
        sides = text.sides(attention.kind)
        focus_tokens, text_tokens = sides if focus.direction == "from" else sides[::-1]
        yield Highlight(
            *(attention.kind, focus.direction, text_tokens, focus_tokens),
            lines=tuple(_lines(attention, text, focus)),
            text=attention.text,
            words=attention.words,
            dropped_special=attention.dropped_special,
            rows_as=focus.reading(text, attention.kind),
        )


def _lines(attention: Attention, text: Input, focus: FocusRequest) -> Iterator[HighlightLine]:
    kind, tokens = attention.kind, text.sides(attention.kind)[focus.axis]
    matches = [(match, focus.rows(text, kind, match)) for match in focus.matches(text, kind)]
    chosen = np.unique(np.concatenate([rows for _, rows in matches]))
    shown = attention.queries if focus.direction == "from" else attention.keys
    rows = chosen if len(shown) == len(tokens) else np.arange(len(chosen))
    moved = focus.direction == "to" and focus.reading(text, kind) == "predicted"
    readers = predicting_rows(text.sides(kind)[0]) if moved else None
    combined: tuple[int | str, ...] = (attention.aggregate,)
    for maps in attention.layers:
        for number, head in enumerate(maps.heads or combined):
            weights, visible = _weights_and_visibility(maps, number, rows, focus.direction)
            for match, of_match in matches:
                match_rows = np.searchsorted(chosen, of_match)
                values = _combined(weights[match_rows], focus.direction)
                seen = np.logical_or.reduce(visible[match_rows], axis=0)
                if readers is not None:
                    values, seen = np.where(readers < 0, np.nan, values[readers]), seen[readers] & (readers >= 0)
                yield HighlightLine(maps.layer, head, match.name, match.positions, values, seen)


def _weights_and_visibility(maps: LayerMaps, number: int, rows: Array, direction: Direction) -> tuple[Array, Array]:
    """Return weights and visibility of one head: [focus token, text token]."""
    weights = np.asarray(maps.weights[number], np.float64)
    visible = np.ones_like(weights, bool)
    if maps.visible is not None:
        visible = maps.visible[min(number, len(maps.visible) - 1)]
    if direction == "to":
        weights, visible = weights.T, visible.T
    return weights[rows], visible[rows]


def _combined(weights: Array, direction: Direction) -> Array:
    """Return the mean over the rows of a focus that are defined; to a focus, the sum over its columns."""
    defined = ~np.isnan(weights).all(1)
    if direction == "to":
        combined: Array = weights.sum(0)
    elif defined.any():
        combined = weights[defined].mean(0)
    else:
        combined = np.full(weights.shape[1], np.nan)
    return combined
