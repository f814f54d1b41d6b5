"""Weights by position alone, fitted to the sums of some texts, and how much of other rows they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array

_RIDGE = 1e-3
_LEAST_VARIANCE = 1e-10
"""Rows that differ from their mean by less than a share of 0.00001 are uniform but for rounding."""


@dataclass(frozen=True, eq=False)
class PositionSums:
    """The sums of one layer that a fit needs, of one text or of several, over the cells of rows with two keys or more.

    D_ij = A_ij - 1 / |S_i| are the deviations from uniform rows; x_ij the terms of a cell (`stream.rigidity`). Offsets
    are those of keys from queries, from -(n - 1) to m - 1 for n queries and m keys. The sums of cells and terms depend
    on the mask alone: they have one head if all heads have the same mask.

    queries, keys  n and m; of several texts the largest
    mass           [head, offset] Σ D
    products       [head, term] Σ D x
    squares        [head] Σ D²
    variance       [head] Σ (A_ij - mean of row i)²
    cells          [head or 1, offset] number of cells
    terms          [head or 1, term, offset] Σ x
    gram           [head or 1, term, term] Σ x x'
    """

    queries: int
    keys: int
    mass: Array
    products: Array
    squares: Array
    variance: Array
    cells: Array
    terms: Array
    gram: Array


@dataclass(frozen=True, eq=False)
class PositionFit:
    """Weights by position alone: 1 / |S_i| + f(j - i) + Σ_k b_k x_k.

    queries       as that of the sums
    by_offset     [head, offset] f
    coefficients  [head, term] b
    """

    queries: int
    by_offset: Array
    coefficients: Array


def total_sums(texts: Sequence[PositionSums]) -> PositionSums:
    """Return the sums over some texts, in float64."""
    queries, keys = max(text.queries for text in texts), max(text.keys for text in texts)
    totals = {}
    for name in ("mass", "cells", "terms"):
        # all heads may have the same mask in some texts only
        shape = np.broadcast_shapes(*(getattr(text, name).shape[:-1] for text in texts))
        total = np.zeros((*shape, queries + keys - 1))
        for text in texts:
            total[..., _offsets(text, queries)] += getattr(text, name)
        totals[name] = total
    for name in ("products", "squares", "variance", "gram"):
        totals[name] = np.asarray(sum(getattr(text, name) for text in texts), dtype=np.float64)
    return PositionSums(queries, keys, **totals)


def without(total: PositionSums, text: PositionSums) -> PositionSums:
    """Return the sums over all texts but one of them."""
    rest = {}
    for name in ("mass", "cells", "terms"):
        rest[name] = getattr(total, name).copy()
        rest[name][..., _offsets(text, total.queries)] -= getattr(text, name)
    for name in ("products", "squares", "variance", "gram"):
        rest[name] = getattr(total, name) - getattr(text, name)
    return PositionSums(total.queries, total.keys, **rest)


def fit(sums: PositionSums) -> PositionFit:
    """Return the least-squares fit of f and b to D; b is drawn to 0 by a ridge of 0.001 of the sum of squares of x.

    The ridge decides where the texts cannot: if all have one length, the even share of an encoder is 1 / |S_i|.
    """
    mean_terms, mean_mass = (_per_cell(sums_, sums.cells) for sums_ in (sums.terms, sums.mass))
    # sums of squares and products around the means of the offsets
    gram = sums.gram - mean_terms @ sums.terms.swapaxes(-1, -2)
    products = sums.products - (sums.terms @ mean_mass[..., None])[..., 0]
    size = np.einsum("hkk->hk", sums.gram)
    ridge = np.where(size > 0, _RIDGE * size, 1.0)[..., None] * np.eye(size.shape[-1])
    coefficients = np.linalg.solve(gram + ridge, products[..., None])[..., 0]
    by_offset = mean_mass - np.einsum("hk,hko->ho", coefficients, np.broadcast_to(mean_terms, _like(mean_terms, sums)))
    return PositionFit(sums.queries, by_offset, coefficients)


def explained(text: PositionSums, model: PositionFit) -> Array:
    """Return 1 - Σ (A - P)² / Σ (A - mean of the row)² of a text [head], P of a fit to other texts.

    It is at least 0, and NaN for uniform rows.
    """
    offsets = np.arange(1 - text.queries, text.keys) + model.queries - 1
    known = (offsets >= 0) & (offsets < model.by_offset.shape[-1])
    by_offset = np.where(known, model.by_offset[:, np.where(known, offsets, 0)], 0.0)
    b = model.coefficients
    mass, terms = text.mass.astype(np.float64), text.terms.astype(np.float64)
    product = (by_offset * mass).sum(-1) + (b * text.products).sum(-1)
    square = (by_offset**2 * text.cells).sum(-1) + ((b[:, None] @ text.gram)[:, 0] * b).sum(-1)
    square += 2 * ((terms @ by_offset[..., None])[..., 0] * b).sum(-1)
    residual = text.squares - 2 * product + square
    is_uniform = text.variance <= _LEAST_VARIANCE * text.gram[:, 0, 0]
    share = 1 - residual / np.where(is_uniform, 1.0, text.variance)
    return np.where(is_uniform, np.nan, np.clip(share, 0.0, 1.0))


def _per_cell(sums: Array, cells: Array) -> Array:
    """Return means over the cells of each offset, 0 without any."""
    cells = cells if sums.ndim == cells.ndim else cells[:, None]
    return np.asarray(np.where(cells > 0, sums / np.maximum(cells, 1), 0.0))


def _like(terms: Array, sums: PositionSums) -> tuple[int, ...]:
    return len(sums.mass), *terms.shape[1:]


def _offsets(text: PositionSums, queries: int) -> slice:
    """Return which of the offsets of texts of up to this many queries a text has."""
    first = queries - text.queries
    return slice(first, first + text.queries + text.keys - 1)
