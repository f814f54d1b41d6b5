"""How alike the heads of all layers are on one text: their distances, and how alike the rows of each layer are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attncli.data import Array, Attention, LayerMaps
from attncli.errors import UsageError
from attncli.stream.head_distance import divergence

Tensor = torch.Tensor
Place = tuple[int, int]
MOST_ROWS, FEWEST_ROWS = 128, 16
MOST_CELLS = 1 << 26
_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class TextDistances:
    """The heads of one kind on one text.

    places     layer and head of each
    distances  [head, head] and to_even [head]: to each other, and to even attention
    layers     of each layer `smoothness`, and the same of even attention
    rows       how many rows were compared
    """

    places: tuple[Place, ...]
    distances: Array
    to_even: Array
    layers: dict[int, tuple[float, float]]
    rows: int


@dataclass(frozen=True, eq=False)
class _Heads:
    """Rows of heads as distributions: weights [head, row, key], their Σ p ln p and which count, [head, row]."""

    weights: Tensor
    logs: Tensor
    real: Tensor

    @classmethod
    def of(cls, weights: Tensor) -> _Heads:
        """Rows rescaled to 1; those without weight do not count."""
        weights = weights.double().nan_to_num(0.0)
        total = weights.sum(-1, keepdim=True)
        weights = torch.where(total > 0, weights / total, 0.0)
        return cls(weights, torch.xlogy(weights, weights).sum(-1), (total[..., 0] > 0).double())

    def part(self, heads: slice) -> _Heads:
        return _Heads(self.weights[heads], self.logs[heads], self.real[heads])

    def distance(self, other: _Heads) -> Tensor:
        """Root of the mean divergence over common rows, head by head."""
        common = self.real * other.real
        found = divergence(self.weights, other.weights, self.logs, other.logs) * common
        mean: Tensor = found.sum(-1) / common.sum(-1)
        return mean.sqrt()


def sampled(queries: int, keys: int = 1, heads: int = 1) -> Array:
    """The rows of a text that are compared: all, of texts of more than 128 at most so many, evenly spread.

    They are fewer, but not below 16, where the rows of all heads would be more than 2^26 weights.

    >>> sampled(300).tolist()[:3], len(sampled(300))
    ([0, 3, 6], 100)
    >>> len(sampled(4000, keys=4000, heads=1000))
    16
    """
    most = min(MOST_ROWS, max(FEWEST_ROWS, MOST_CELLS // (keys * heads)))
    return np.arange(0, queries, -(-queries // most))


def text_distances(attention: Attention) -> TextDistances:
    """How far are the rows of each head from those of every other head, and from even attention?

    Formula    d(a, b) = sqrt(JS), JS = mean over rows of ½ [KL(p‖m) + KL(q‖m)], m = (p + q) / 2
    Axes       maps of one text with some or all of its rows → [head, head] over all layers, and [head]
    Unit       sqrt(nat), from 0 (alike) to sqrt(ln 2) = 0.833 (no key in common)
    Undefined  NaN where two heads have no row in common
    Caveat     heads are far apart also when they do the same with other words; a single text says little
    Source     Clark et al. 2019, who sum over rows where this is the mean
    """
    weights, places = _stacked(attention.layers)
    heads, even = _Heads.of(weights), _Heads.of(_even(attention.layers))
    count = len(places)
    found = np.zeros((count, count))
    step = max(1, _BLOCK // max(1, heads.weights[0].numel()))
    for at in range(count):
        one = heads.part(slice(at, at + 1))
        for first in range(at + 1, count, step):
            others = slice(first, min(first + step, count))
            found[at, others] = found[others, at] = one.distance(heads.part(others)).numpy()
    layers = {layer: _smooth(heads, even, places, layer) for layer in dict.fromkeys(layer for layer, _ in places)}
    to_even = np.concatenate([heads.part(slice(at, at + 1)).distance(even.part(_of(even, at))) for at in range(count)])
    return TextDistances(places, found, to_even, layers, heads.weights.shape[1])


def smoothness(weights: Tensor) -> float:
    """Do all tokens of a layer look at the same keys?

    Formula    mean over heads and rows of JS(p, m), m the mean row of the layer
    Axes       rows of all heads of a layer [head, row, key] → one number
    Unit       nat, from 0 (all rows alike: attention of rank one) to ln 2 = 0.693
    Undefined  NaN without a row that has weight
    Caveat     rows that may see different keys, as in causal models, cannot be alike: compare with even attention
    """
    rows = _Heads.of(weights)
    count = rows.real.sum()
    mean = (rows.weights * rows.real[..., None]).sum((0, 1)) / count
    found = divergence(rows.weights, mean, rows.logs, torch.xlogy(mean, mean).sum())
    return float((found * rows.real).sum() / count)


def _stacked(layers: Sequence[LayerMaps]) -> tuple[Tensor, tuple[Place, ...]]:
    """The rows of all heads [head, row, key], and the layer and number of each."""
    shapes = {maps.weights.shape[1:] for maps in layers}
    if len(shapes) > 1:
        raise UsageError("layers that read texts of different lengths cannot be compared: choose some with --layer")
    return torch.from_numpy(np.concatenate([maps.weights for maps in layers])), tuple(_places(layers))


def _places(layers: Sequence[LayerMaps]) -> Iterator[Place]:
    for maps in layers:
        for head in maps.heads:
            yield int(maps.layer), head


def _even(layers: Sequence[LayerMaps]) -> Tensor:
    """Even weights over the keys that each row may see: [1 or head, row, key]."""
    seen = [_seen(maps) for maps in layers]
    if all(len(one) == 1 and np.array_equal(one, seen[0]) for one in seen):
        return torch.from_numpy(seen[0])
    spread = [np.broadcast_to(one, maps.weights.shape) for one, maps in zip(seen, layers, strict=True)]
    return torch.from_numpy(np.concatenate(spread))


def _seen(maps: LayerMaps) -> Array:
    seen = np.ones((1, *maps.weights.shape[1:]), bool) if maps.visible is None else maps.visible
    undefined = np.isnan(maps.weights).any(-1, keepdims=True)
    return np.array(seen & ~undefined) if undefined.any() else np.array(seen)


def _of(even: _Heads, at: int) -> slice:
    return slice(0, 1) if len(even.weights) == 1 else slice(at, at + 1)


def _smooth(heads: _Heads, even: _Heads, places: Sequence[Place], layer: int) -> tuple[float, float]:
    rows = [at for at, (of, _) in enumerate(places) if of == layer]
    return smoothness(heads.weights[rows]), smoothness(even.weights if len(even.weights) == 1 else even.weights[rows])
