"""Uniform attention: the weights of a head that attends equally to all visible keys."""

from __future__ import annotations

from dataclasses import replace

from attncli.data import Rows
from attncli.stream.protocol import with_weights


def uniform_rows(rows: Rows) -> Rows:
    """Return the block with weight 1 / |S_i| on each visible key; with one head if all heads see the same keys."""
    weights = rows.visible_pairs.double() / rows.visible_count.clamp_min(1)[..., None]
    return replace(with_weights(rows, weights), heads=rows.heads[: weights.shape[1]])
