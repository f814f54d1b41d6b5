"""The weights from some tokens to others, which are named as users name tokens."""

from collections.abc import Sequence

import numpy as np

from attncli.data.focus import find_focus, positions_of
from attncli.data.tokens import Array, Kind, Tokens

TokenName = str | int
"""A name of tokens as `find_focus` reads it, or the position of one token."""


def rows_that_count(kind: Kind, rows: Array | Sequence[int], keys: Array | Sequence[int]) -> Array:
    """Return the rows of a mean over rows: in a decoder, those from the first of the keys on.

    The others come before all of these keys, which are masked for them.

    >>> rows_that_count("decoder", [2, 9], [4]).tolist(), rows_that_count("encoder", [2, 9], [4]).tolist()
    ([9], [2, 9])
    """
    positions = np.asarray(rows, np.int64)
    return positions[positions >= min(keys)] if kind == "decoder" and len(keys) else positions


def pair_weights(
    weights: Array, kind: Kind, sides: tuple[Tokens, Tokens], query: TokenName | None, key: TokenName | None
) -> Array:
    """Return [...] the weights from some queries to some keys: the mean over the queries of the sum over the keys.

    weights  [..., query, key], 0 for masked pairs, NaN in rows that see no key, which count in no mean
    query    name of the queries; None for all, each by itself: [..., query]
    key      name of the keys; None for all, each by itself: [..., key]

    In a decoder, queries before all of the keys do not count. Without any row the result is NaN.
    """
    rows, keys = (
        None if wanted is None else positions_of(find_focus(side, str(wanted), option))
        for wanted, side, option in zip((query, key), sides, ("query", "key"), strict=True)
    )
    chosen = weights.astype(np.float64) if keys is None else weights[..., keys].sum(-1, dtype=np.float64)
    if rows is None:
        return chosen
    rows = rows if keys is None else rows_that_count(kind, rows, keys)
    of_rows = chosen[..., rows, :] if keys is None else chosen[..., rows, None]
    defined = ~np.isnan(of_rows)
    with np.errstate(invalid="ignore"):
        mean = np.where(defined, of_rows, 0.0).sum(-2) / defined.sum(-2)
    return np.asarray(mean if keys is None else mean[..., 0])
