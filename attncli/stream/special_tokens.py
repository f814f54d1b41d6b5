"""Maps without special tokens: both axes lose them, and the rest of each row is rescaled to sum to 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attncli.data import Array, Attention, LayerMaps, Tokens
from attncli.errors import UsageError


def drop_special(attention: Attention) -> Attention:
    """Return the maps of ordinary tokens, without special tokens.

    Both axes lose them; each row is divided by its remaining sum, so that it sums to 1. A row whose whole mass was
    removed is NaN. Over [CLS], a, b a row of 1/2, 1/4, 1/4 becomes 1/2, 1/2. `removed_mass` says how much of the
    attention this hides. Value-weighted norms are not rescaled.
    """
    if attention.dropped_special:
        return attention
    queries, keys = np.flatnonzero(~attention.queries.special), np.flatnonzero(~attention.keys.special)
    return replace(
        attention,
        queries=without_special(attention.queries),
        keys=without_special(attention.keys),
        layers=tuple(_drop_from_maps(maps, queries, keys, attention.by == "norm") for maps in attention.layers),
        dropped_special=True,
    )


def removed_mass(attention: Attention) -> float:
    """Return the share of the attention of ordinary tokens that `drop_special` removes, as it goes to special tokens.

    It is the mean over rows, heads and layers, NaN if no row is defined.
    """
    ordinary = ~attention.queries.special
    shares = []
    for maps in attention.layers:
        weights = maps.weights[:, ordinary].astype(np.float64)
        total = weights.sum(-1) if attention.by == "norm" else 1.0
        shares.append((weights[..., attention.keys.special].sum(-1) / total).ravel())
    defined = np.concatenate(shares)
    defined = defined[~np.isnan(defined)]
    return float(defined.mean()) if len(defined) else float("nan")


def without_special(tokens: Tokens) -> Tokens:
    """Return the ordinary tokens of one side; raise UsageError if there are none."""
    ordinary = np.flatnonzero(~tokens.special)
    if not len(ordinary):
        raise UsageError(
            f"all {len(tokens)} tokens of the text are special, so that nothing is left without them: "
            "give a text with words, or --special keep"
        )
    return tokens.take(ordinary)


def _drop_from_maps(maps: LayerMaps, queries: Array, keys: Array, norms: bool) -> LayerMaps:
    weights = maps.weights[:, queries][:, :, keys].astype(np.float64)
    total = weights.sum(-1, keepdims=True)
    divisor = 1.0 if norms else np.where(total > 0, total, 1.0)
    weights = np.where(total > 0, weights / divisor, np.nan)
    visible = None if maps.visible is None else maps.visible[:, queries][:, :, keys]
    return replace(maps, weights=weights, visible=visible)
