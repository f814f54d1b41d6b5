"""Attention rollout: products of the maps of layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncli.data import Array, Kind
from attncli.studies.flow.layer_steps import cross_attention_step, row_blocks, self_attention_step

BLOCK = 256
"""Rows, columns and terms of one matrix product."""
LONG = 1024
"""Above this number of tokens each product of up to `BLOCK` terms is in float32; their sums are in float64."""


class Rollout:
    """Attention rollout: the share of each input token in each token at the top, if only attention mixes tokens.

    `attncli explain rollout` shows formula, caveats and sources. The shares are [query at the top, key of the input], a
    row sums to 1 over all inputs. A row without visible keys in some layer keeps its own token; without residual it
    becomes zero. Only one map of each kind is kept, whatever the number of layers.
    """

    def __init__(self, residual: bool = True) -> None:
        self._residual = residual
        self._shares: dict[Kind, Array] = {}

    def add(self, kind: Kind, weights: Array) -> None:
        """Add the map [query, key] of the next layer, in the order of `stacking_order`."""
        shares = self._shares
        if kind != "cross":
            for name in ("decoder", "cross") if kind == "decoder" else (kind,):
                if name in shares:
                    shares[name] = self._mixed(weights, shares[name], square=name == kind)
            if kind not in shares:
                shares[kind] = self_attention_step(weights, self._residual)
            return
        kept, step = cross_attention_step(weights, self._residual)
        shares["decoder"] = kept[:, None] * shares.get("decoder", np.eye(len(kept)))
        received = step @ shares["encoder"] if "encoder" in shares else step
        shares["cross"] = kept[:, None] * shares["cross"] + received if "cross" in shares else received

    def of(self, kind: Kind) -> Array:
        """Return the shares after the layers so far: [query, key]."""
        return self._shares[kind]

    def _mixed(self, weights: Array, shares: Array, square: bool) -> Array:
        """Return the shares after a layer of self-attention.

        square  whether shares are of the tokens themselves, so that causal ones are 0 above the diagonal
        """
        causal = _is_lower(weights)
        lower = causal and square and _is_lower(shares)
        if lower and is_causal_mean(weights):
            return _mean_with_earlier(shares, self._residual)
        mixed = np.empty_like(shares)
        factors = shares.astype(np.float32 if len(shares) > LONG else np.float64, copy=False)
        for rows in _blocks(len(weights)):
            of_rows = weights[rows, : rows.stop if causal else None]
            total = of_rows.sum(-1, keepdims=True) + self._residual
            of_rows = of_rows.astype(factors.dtype, copy=False)
            for columns in _blocks(shares.shape[1]):
                if lower and columns.start >= rows.stop:
                    mixed[rows, columns] = 0
                    continue
                sums = shares[rows, columns] * float(self._residual)
                for terms in _blocks(of_rows.shape[1], columns.start if lower else 0):
                    sums += of_rows[:, terms] @ factors[terms, columns]
                mixed[rows, columns] = sums / np.where(total > 0, total, 1.0)
        return mixed


def is_causal_mean(weights: Array) -> bool:
    """Return whether the weights are uniform over each token itself and all tokens before it."""
    if weights.shape[0] != weights.shape[1] or not np.array_equal(weights[:, 0], 1 / np.arange(1, len(weights) + 1)):
        return False
    return all(np.array_equal(weights[rows], _causal_mean(rows, weights.shape[1])) for rows in row_blocks(len(weights)))


def _causal_mean(rows: slice, keys: int) -> Array:
    count = np.arange(rows.start + 1, rows.stop + 1)[:, None]
    mean: Array = np.where(np.arange(keys) < count, 1 / count, 0.0)
    return mean


def _mean_with_earlier(shares: Array, residual: bool) -> Array:
    """Return the mean of each row and all rows above it; with residual, the mean of that and the row itself."""
    mixed, above = np.empty_like(shares), np.zeros(shares.shape[1])
    for rows in row_blocks(len(shares)):
        sums = shares[rows].cumsum(0)
        sums += above
        above = sums[-1].copy()
        sums /= np.arange(rows.start + 1, rows.stop + 1)[:, None]
        mixed[rows] = (sums + shares[rows]) / 2 if residual else sums
    return mixed


def _is_lower(square: Array) -> bool:
    """Return whether a square array is 0 in all blocks above the diagonal."""
    return len(square) == square.shape[1] and not any(square[rows, rows.stop :].any() for rows in _blocks(len(square)))


def _blocks(count: int, first: int = 0) -> Iterator[slice]:
    yield from (slice(start, min(start + BLOCK, count)) for start in range(first, count, BLOCK))
