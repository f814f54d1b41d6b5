"""Maps without special tokens: they leave both axes, and what remains of each row is scaled up to 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attncli.data import Array, Attention, LayerMaps, Tokens
from attncli.errors import UsageError


def drop_special(attention: Attention) -> Attention:
    """How do ordinary tokens attend to each other, special tokens left aside?

    Both axes lose them; each row is divided by what remains of it, so that it sums to 1. A row whose whole mass
    was removed is NaN. Over [CLS], a, b a row of 1/2, 1/4, 1/4 becomes 1/2, 1/2. `removed_mass` says how much
    of the attention this hides. Norms of weighted values stay as they are.
    """
    if attention.dropped_special:
        return attention
    queries, keys = np.flatnonzero(~attention.queries.special), np.flatnonzero(~attention.keys.special)
    return replace(
        attention,
        queries=without_special(attention.queries),
        keys=without_special(attention.keys),
        layers=tuple(_dropped(maps, queries, keys, attention.by == "norm") for maps in attention.layers),
        dropped_special=True,
    )


def removed_mass(attention: Attention) -> float:
    """What share of the attention of ordinary tokens do special tokens take? The mean over rows, heads, layers.

    NaN where no row is defined. It is what `drop_special` removes.
    """
    rows = ~attention.queries.special
    taken = []
    for maps in attention.layers:
        own = maps.weights[:, rows].astype(np.float64)
        whole = own.sum(-1) if attention.by == "norm" else 1.0
        taken.append((own[..., attention.keys.special].sum(-1) / whole).ravel())
    defined = np.concatenate(taken)
    defined = defined[~np.isnan(defined)]
    return float(defined.mean()) if len(defined) else float("nan")


def without_special(tokens: Tokens) -> Tokens:
    """The ordinary tokens of one side; a text that has none is a `UsageError`."""
    kept = np.flatnonzero(~tokens.special)
    if not len(kept):
        raise UsageError(
            f"all {len(tokens)} tokens of the text are special, so that nothing is left without them: "
            "give a text with words, or --special keep"
        )
    return tokens.take(kept)


def _dropped(maps: LayerMaps, queries: Array, keys: Array, norms: bool) -> LayerMaps:
    weights = maps.weights[:, queries][:, :, keys].astype(np.float64)
    remains = weights.sum(-1, keepdims=True)
    divisor = 1.0 if norms else np.where(remains > 0, remains, 1.0)
    weights = np.where(remains > 0, weights / divisor, np.nan)
    visible = None if maps.visible is None else maps.visible[:, queries][:, :, keys]
    return replace(maps, weights=weights, visible=visible)
