"""Sums over the rows of a layer, and mean and standard deviation of each head over texts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self, TypeVar

import numpy as np
import torch

from attncli.data import Array, Kind, Rows, kind_order
from attncli.data.modes import Modes
from attncli.data.part_states import PartState
from attncli.stream.protocol import LayerKey, pop_layer

Sums = dict[str, torch.Tensor]
"""Tensors [batch, head, ...] that are summed over blocks of rows."""
HeadsKey = tuple[Kind, int, tuple[int, ...]]
"""The kind, the layer and the numbers of some heads."""
Coords = dict[str, tuple[str, Array]]
"""The coordinates of a table by name, each with its dimension."""
Key = TypeVar("Key")
OverTexts = Literal["mean", "std", "count", "mode", "share"]
"""What a table says about several texts: mean and std of amounts, mode and share of categories.

count: the number of texts, or of rows, that have a value.
"""


@dataclass
class LayerParts:
    """The sums of one layer of some texts so far, by the heads of a block."""

    texts: tuple[int, ...]
    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    parts: dict[tuple[int, ...], Sums] = field(default_factory=dict)

    def joined(self) -> tuple[tuple[int, ...], Sums]:
        """Return all head numbers in order, and the sums of these heads."""
        return join_heads(self.parts.items())


class OpenLayers:
    """The layers whose rows are still streaming, while their heads come in groups."""

    def __init__(self) -> None:
        self._layers: dict[LayerKey, LayerParts] = {}

    def add(self, rows: Rows, sums: Sums) -> None:
        new = LayerParts(rows.texts, rows.query_lengths, rows.key_lengths)
        parts = self._layers.setdefault((rows.kind, rows.layer, rows.texts), new).parts
        parts[rows.heads] = add_sums(parts.get(rows.heads), sums)

    def pop(self, kind: Kind, layer: int) -> Iterator[LayerParts]:
        """Remove a layer and yield its sums, for one group of texts after the other."""
        for _, parts in pop_layer(self._layers, kind, layer):
            yield parts


def add_sums(total: Sums | None, block: Sums) -> Sums:
    """Return the sums of two blocks of the same heads."""
    return block if total is None else {name: total[name] + values for name, values in block.items()}


def join_heads(parts: Iterable[tuple[tuple[int, ...], Sums]]) -> tuple[tuple[int, ...], Sums]:
    """Return all head numbers in order, and the sums of these heads, from parts with any heads."""
    parts = list(parts)
    all_heads = tuple(sorted({head for heads, _ in parts for head in heads}))
    joined: Sums = {}
    for heads, sums in parts:
        for name, values in sums.items():
            if name not in joined:
                joined[name] = values.new_zeros((values.shape[0], len(all_heads), *values.shape[2:]))
            index = torch.tensor([all_heads.index(head) for head in heads], device=values.device)
            joined[name].index_add_(1, index, values)
    return all_heads, joined


class Moments:
    """Running mean and population variance of arrays, cell by cell; NaN values are left out.

    Texts are added in any order and in groups of any size. Groups are merged by Chan, Golub & LeVeque 1979, which
    equals the two-pass result up to rounding.

    count  number of values of each cell, or the sum of their weights
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = np.zeros(shape)
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: Array, weights: Array | None = None) -> None:
        """Add the values of some texts: [text, ...]; `weights`, of the same shape, are 1 or more (default: 1)."""
        defined = ~np.isnan(values)
        weight = np.where(defined, 1.0 if weights is None else weights, 0.0)
        count = weight.sum(axis=0)
        mean = (weight * np.where(defined, values, 0.0)).sum(axis=0) / np.maximum(count, 1)
        squares = (weight * np.where(defined, values - mean, 0.0) ** 2).sum(axis=0)
        self._merge(count, mean, squares)

    def _merge(self, count: Array, mean: Array, squares: Array) -> None:
        """Merge with the moments of other texts."""
        total_count = np.maximum(self.count + count, 1)
        difference = mean - self._mean
        self._mean += difference * count / total_count
        self._squares += squares + difference**2 * self.count * count / total_count
        self.count += count

    @classmethod
    def of(cls, state: PartState) -> Self:
        """Return the moments of the texts of a state."""
        moments = cls(state["count"].shape)
        moments.absorb(state)
        return moments

    def state(self) -> PartState:
        """Return the counts, the means and the sums of squared differences from them."""
        return {"count": self.count, "mean": self._mean, "squares": self._squares}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another instance of the same shape."""
        self._merge(state["count"], state["mean"], state["squares"])

    @property
    def mean(self) -> Array:
        """Return the mean of each cell, NaN without a value."""
        return np.where(self.count > 0, self._mean, np.nan)

    @property
    def variance(self) -> Array:
        """Return the variance of each cell as estimated from these texts (n - 1), NaN with fewer than 2 values."""
        return np.where(self.count > 1, self._squares / np.maximum(self.count - 1, 1), np.nan)

    @property
    def std(self) -> Array:
        """Return the population standard deviation of each cell, NaN without a value."""
        return np.where(self.count > 0, np.sqrt(self._squares / np.maximum(self.count, 1)), np.nan)


@dataclass
class _HeadGroup:
    """Some heads of a layer over the texts so far; the moments or modes are [head, ...]."""

    moments: Moments | Modes
    shape: tuple[int, ...]
    texts: int = 0
    queries: int = 0


class HeadTable:
    """A table with one row per head: mean and standard deviation over texts, or the most frequent value.

    collect  makes what collects the values of some heads: `Moments`, or `Modes` for categories
    by_rows  whether a text counts as many times as it has rows with a value, else once
    """

    def __init__(
        self, collect: Callable[[tuple[int, ...]], Moments | Modes] = Moments, *, by_rows: bool = False
    ) -> None:
        self._groups: dict[HeadsKey, _HeadGroup] = {}
        self._collect, self._by_rows = collect, by_rows

    def add(self, heads: HeadsKey, values: Array, queries: int = 0, rows: Array | None = None) -> None:
        """Add values [text, head, ...] of some heads.

        queries  number of query tokens of these texts
        rows     number of rows behind each value, of the same shape
        """
        group = self._groups.setdefault(heads, _HeadGroup(self._collect(values.shape[1:]), values.shape[1:]))
        group.moments.add(values, rows if self._by_rows else None)
        group.texts += len(values)
        group.queries += queries

    def state(self) -> PartState:
        """Return the moments or modes of all heads, and the numbers of texts and queries."""
        groups = [
            {
                "kind": kind,
                "layer": layer,
                "heads": list(heads),
                "texts": group.texts,
                "queries": group.queries,
                "shape": list(group.shape),
                "values": group.moments.state(),
            }
            for (kind, layer, heads), group in self._groups.items()
        ]
        return {"groups": groups}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another table with the same columns."""
        for added in state["groups"]:
            heads: HeadsKey = added["kind"], added["layer"], tuple(added["heads"])
            shape = tuple(added["shape"])
            group = self._groups.setdefault(heads, _HeadGroup(self._collect(shape), shape))
            group.moments.absorb(added["values"])
            group.texts += added["texts"]
            group.queries += added["queries"]

    @property
    def several_texts(self) -> bool:
        """Return whether any head has values of more than one text."""
        return any(group.texts > 1 for group in self._groups.values())

    def rows(
        self, what: OverTexts, shape: tuple[int, ...], kinds: Sequence[Kind] | None = None
    ) -> tuple[Coords, Array]:
        """Return coordinates (kind, layer, head, texts, queries) and values [head, *shape], ordered by them."""
        rows = []
        for (kind, layer, heads), group in self._groups.items():
            moments: Array = getattr(group.moments, what)
            for index, head in enumerate(heads if kinds is None or kind in kinds else ()):
                rows.append((kind, (layer, head, group.texts, group.queries), moments[index]))
        rows.sort(key=lambda row: (kind_order(row[0]), row[1][:2]))
        numbers = np.array([numbers for _, numbers, _ in rows], dtype=np.int64).reshape(-1, 4).T
        columns = [np.array([kind for kind, _, _ in rows], dtype=object), *numbers]
        names = ("kind", "layer", "head", "texts", "queries")
        coords = {name: ("head", column) for name, column in zip(names, columns, strict=True)}
        return coords, np.array([values for _, _, values in rows]).reshape(len(rows), *shape)


def absorb_moments(moments: dict[Key, Moments], key: Key, state: PartState) -> None:
    """Add the texts of a state to the moments of a key."""
    if key in moments:
        moments[key].absorb(state)
    else:
        moments[key] = Moments.of(state)
