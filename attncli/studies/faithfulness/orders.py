"""The order in which units are removed: by the values of a method, by position, or random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attncli.capturing.word_vectors import Side
from attncli.data import Array
from attncli.studies.faithfulness.text import StudiedText

RANDOM, POSITION = "random", "position"
BASELINES_OF_ORDER = (RANDOM, POSITION)
"""Baselines that stand beside all methods."""


def orders_of(text: StudiedText, draws: int, seed: int) -> dict[str, list[Array]]:
    """Return for each method and each baseline the orders of the units, the most important first.

    draws  number of random orders; the others have one
    """
    generator = np.random.default_rng((seed, text.number))
    shuffled = [generator.permutation(text.values.shape[1]) for _ in range(draws)]
    by_method = {
        name: [descending(values, shuffled[0])] for name, values in zip(text.methods, text.values, strict=True)
    }
    return {**by_method, RANDOM: shuffled, POSITION: [descending(-distances(text), shuffled[0])]}


def descending(values: Array, shuffled: Array) -> Array:
    """Return the order of units by value, the largest first; equal values are in the order of `shuffled`.

    >>> descending(np.array([1, 3, 1, 2]), np.array([2, 1, 0, 3])).tolist()
    [1, 3, 2, 0]
    """
    order: Array = shuffled[np.argsort(-values[shuffled], kind="stable")]
    return order


def distances(text: StudiedText) -> Array:
    """Return how far each unit is from the token that predicts, in tokens, [unit].

    Of an encoder that predicts a label, of an embedding of all tokens, and of the source of an encoder-decoder, it is
    the distance from the start.
    """
    output, loaded = text.output, text.prepared.loaded
    count = {side: len(tokens) for side, tokens in text.predictions.tokens.items()}
    predicts: Side = "source" if text.predictions.text.target is None or output.reads is not None else "target"
    rows: Sequence[int] = output.positions
    if not rows and len(count) == 1 and not loaded.reads_both_ways:
        rows = (count["source"] - 1,)
    if len(rows) == count[predicts]:  # an embedding is made of all tokens
        rows = ()
    ends = {side: rows if side == predicts and rows else (0,) for side in count}
    return np.array(
        [
            min(abs(position - end) for position in unit.positions for end in ends[side])
            for side, unit in text.flat_units
        ],
        dtype=np.float64,
    )
