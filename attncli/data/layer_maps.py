"""The attention maps of one layer, and the mean or the maximum of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attncli.data.described import Described, counted
from attncli.data.tokens import Array, read_only
from attncli.data.zoom import Combining
from attncli.errors import UsageError


@dataclass(frozen=True, eq=False, repr=False)
class LayerMaps(Described):
    """The kept maps of one layer.

    heads      head numbers of the model; () if the heads were combined into one map
    weights    [head, query, key] float32
    visible    [1 or head, query, key] bool, False for masked pairs; None if every key is visible to every query

    combined   the mean, the maximum over the heads, if it was computed before pooling

    Rows and columns of pooled maps are cells of several tokens; a cell is visible if any of its pairs is.
    The weight of a masked cell has no meaning. A row that sees no key is NaN.
    """

    layer: int | str
    heads: tuple[int, ...]
    weights: Array
    visible: Array | None = None
    combined: Mapping[Combining, LayerMaps] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", read_only(self.weights, np.float32))
        if self.visible is not None:
            object.__setattr__(self, "visible", read_only(self.visible, np.bool_))

    def _lines(self) -> Iterable[str]:
        shape = " x ".join(map(str, self.weights.shape[1:]))
        yield f"LayerMaps of layer {self.layer}: {counted(len(self.weights), 'map')} of {shape} (query x key)"

    @property
    def visible_weights(self) -> Array:
        """The weights, 0 for masked pairs; rows that see no key stay NaN."""
        if self.visible is None:
            return self.weights
        return np.where(self.visible | np.isnan(self.weights), self.weights, np.float32(0))


def one_head(maps: LayerMaps, head: int) -> LayerMaps:
    """Return the map of one head; raise UsageError if the layer has no such head."""
    if not maps.heads:
        raise UsageError(f"layer {maps.layer} keeps one combined map, so head {head} cannot be selected")
    index = index_of(head, maps.heads, f"head {head} does not exist in layer {maps.layer}")
    visible = maps.visible
    if visible is not None and visible.shape[0] > 1:
        visible = visible[index : index + 1]
    return LayerMaps(maps.layer, (maps.heads[index],), maps.weights[index : index + 1], visible)


def index_of(number: int, numbers: Sequence[int | str], problem: str) -> int:
    """Return the index of a number (a negative one counts from the end); raise UsageError if there is none."""
    is_number = hasattr(number, "__index__") and not isinstance(number, bool)
    if is_number and -len(numbers) <= number < 0:
        return len(numbers) + number
    if not is_number or number not in numbers:
        raise UsageError(f"{problem}; there are: {', '.join(map(str, numbers))}")
    return numbers.index(number)


def combined_heads(maps: LayerMaps, how: Combining, of_heads: Mapping[int, float] | None = None) -> LayerMaps:
    """Return the mean, the weighted mean or the largest weight over heads, NaN in the rows that no head has.

    of_heads  head → its weight in a weighted mean, in which a head of weight 0 has no rows
    """
    defined = ~np.isnan(maps.weights[..., :1])
    weights = np.where(defined, maps.weights, 0)
    if how == "weighted":
        assert of_heads is not None  # a weighted mean has weights
        share = np.array([of_heads[head] for head in maps.heads])[:, None, None]
        defined &= share > 0
        weights = (weights * share).sum(0, keepdims=True)
        weights /= np.where(defined.any(0), (share * defined).sum(0, keepdims=True), 1)
    elif how == "mean":
        weights = weights.sum(0, keepdims=True, dtype=np.float64) / np.maximum(defined.sum(0, keepdims=True), 1)
    else:
        weights = weights.max(0, keepdims=True)
    visible = maps.visible
    if visible is not None and len(visible) > 1:
        # as in the stream, a head without the row does not make its keys visible
        visible = np.logical_or.reduce(visible & (defined | ~defined.any(0)), axis=0, keepdims=True)
    return LayerMaps(maps.layer, (), np.where(defined.any(0), weights, np.nan), visible)


def without_single_axes(weights: Array) -> Array:
    """Return weights [layer, head, ...] without the first two axes where they have one entry."""
    singles = tuple(axis for axis in (0, 1) if weights.shape[axis] == 1)
    return np.squeeze(weights, axis=singles)


@dataclass
class LayerMean:
    """The running mean of maps over layers, weighted or not; each row counts in the layers that have it."""

    heads: tuple[int, ...]
    total: Any = 0.0
    count: Any = 0.0
    visible: Any = False

    def add(self, maps: LayerMaps, weight: float = 1.0) -> None:
        """Add the maps of one layer with a weight; raise UsageError if it has other heads than the layers before."""
        if self.heads != maps.heads:
            names = [", ".join(map(str, heads)) for heads in (maps.heads, self.heads)]
            raise UsageError(
                f"the mean over layers needs the same heads in every layer, got {names[0]} in layer "
                f"{maps.layer} after {names[1]}: select the same heads in every layer, or use --aggregate mean"
            )
        self.total = self.total + weight * np.nan_to_num(maps.weights.astype(np.float64))
        self.count = self.count + weight * ~np.isnan(maps.weights[..., 0])
        self.visible = self.visible | (np.True_ if maps.visible is None else maps.visible)

    def finish(self) -> LayerMaps:
        """Return the mean, NaN in the rows that no layer has."""
        with np.errstate(invalid="ignore"):
            mean = self.total / self.count[..., None]
        return LayerMaps("mean", self.heads, mean, None if self.visible.all() else self.visible)
