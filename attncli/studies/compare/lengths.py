"""Texts of similar length: measures of a head depend on the length of a text."""

from __future__ import annotations

import numpy as np

from attncli.data import Array

_EXACT, _STEPS = 32, 8
"""Most tokens of texts that are alike in length only if they have as many; groups for each doubling of longer ones."""


def length_group(tokens: Array) -> Array:
    """Return the group of texts of similar length of each number of tokens: the same up to 32, then within 9 %.

    >>> length_group(np.array([5, 6, 32, 33, 34, 64])).tolist()
    [5, 6, 32, 32, 32, 40]
    """
    above = _EXACT + np.floor(_STEPS * np.log2(np.maximum(tokens, _EXACT) / _EXACT))
    groups: Array = np.where(tokens <= _EXACT, tokens, above).astype(int)
    return groups
