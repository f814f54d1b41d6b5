"""Which segments stay in each pass: all subsets of few segments, a random sample of the subsets of many."""

from __future__ import annotations

import numpy as np

from attncli.data import Array

_FEW = 20
"""Most segments whose subsets can be numbered and drawn without repetition."""


def has_all_subsets(segments: int, most: int) -> bool:
    """Return whether all subsets are taken.

    >>> has_all_subsets(6, 64), has_all_subsets(7, 64)
    (True, False)
    """
    return segments <= _FEW and 2**segments <= most


def subsets(segments: int, most: int, seed: int) -> Array:
    """Return which segments stay, [subset, segment] bool: all subsets if there are at most `most`, else a sample.

    In the sample each segment stays with a probability of one half, as in ContextCite, and no subset comes twice.

    >>> subsets(2, 64, 0).tolist()
    [[False, False], [True, False], [False, True], [True, True]]
    """
    generator = np.random.default_rng(seed)
    if segments > _FEW:
        return generator.random((most, segments)) < 0.5
    numbers = np.arange(2**segments)
    if not has_all_subsets(segments, most):
        numbers = generator.choice(numbers, most, replace=False)
    bits: Array = (numbers[:, None] >> np.arange(segments)) & 1 == 1
    return bits


def shapley_of_all(kept: Array, responses: Array) -> Array:
    """Return the exact Shapley value of each segment from the responses to all subsets.

    kept       [subset, segment] bool, all subsets in the order of `subsets`
    responses  [subset]
    The value is the mean change when the segment joins others, over all orders of the segments (Shapley 1953).
    """
    segments = kept.shape[1]
    sizes = kept.sum(1)
    orders = np.concatenate([[1.0], np.cumprod(np.arange(1, segments + 1, dtype=np.float64))])
    values = np.zeros(segments)
    for segment in range(segments):
        without = np.flatnonzero(~kept[:, segment])
        others = sizes[without]
        shares = orders[others] * orders[segments - 1 - others] / orders[segments]
        values[segment] = (shares * (responses[without + 2**segment] - responses[without])).sum()
    return values
