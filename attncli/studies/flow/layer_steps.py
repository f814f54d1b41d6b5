"""The combined map of each layer with its baselines, rollout, and the graph of steps from token to token."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from attncli.data import Array, Kind, Selection
from attncli.stream.keep import ALL, Canvas, KeepMaps
from attncli.studies.flow.result import Graph, Level, Stack, Step

VARIANTS = ("values", "uniform", "position")
"""The map itself, its rows replaced by uniform weights, and its mean weight at each offset."""
KindLayer = tuple[Kind, int]
VariantMaps = tuple[Array, Array, Array]
"""A map [query, key] for each of `VARIANTS`."""


class LayerSteps(KeepMaps):
    """A sink that combines the heads of each layer into one float64 map, and passes it on with its baselines.

    Layers are passed on in the order of `stacking_order`; a layer that ends too early waits.

    heads      heads of the stream that are combined
    receive    function that gets text, kind, layer and maps of each layer
    normalize  whether rows of the combined map are scaled to sum to 1, which rows of norms do not
    """

    def __init__(
        self,
        heads: Selection,
        receive: Callable[[int, Kind, int, VariantMaps], None],
        *,
        aggregate: Literal["mean", "max"] = "mean",
        normalize: bool = False,
    ) -> None:
        super().__init__(heads, aggregate=aggregate)
        self._order, self._receive, self._normalize = stacking_order(heads), receive, normalize
        self._passed: Counter[int] = Counter()  # number of layers of each text that were passed on
        self._waiting: dict[tuple[int, KindLayer], VariantMaps] = {}

    def _finish(self, text: int, kind: Kind, layer: int, canvas: Canvas) -> None:
        canvas.settle()
        weights = canvas.weights[ALL].astype(np.float64)
        visible = canvas.visible[ALL] & ~np.isnan(weights[:, :1])
        weights = np.where(visible, weights, 0.0)
        weights = normalized_rows(weights) if self._normalize else weights
        self._waiting[text, (kind, layer)] = variant_maps(kind, weights, visible)
        for key in self._order[self._passed[text] :]:
            if (text, key) not in self._waiting:
                break
            self._receive(text, *key, self._waiting.pop((text, key)))
            self._passed[text] += 1


def stacking_order(layers: Iterable[KindLayer]) -> list[KindLayer]:
    """Return layers in the order in which a model applies them: the encoder's, then self- and cross-attention in turn.

    >>> stacking_order([("cross", 0), ("decoder", 1), ("decoder", 0), ("encoder", 0), ("cross", 1)])
    [('encoder', 0), ('decoder', 0), ('cross', 0), ('decoder', 1), ('cross', 1)]
    """
    return sorted(layers, key=lambda layer: (layer[0] != "encoder", layer[1], layer[0] == "cross"))


def variant_maps(kind: Kind, weights: Array, visible: Array) -> VariantMaps:
    """Return a map with its baselines; `weights` [query, key] are zero on masked keys.

    Cross-attention has no offsets, as queries and keys count different texts: its third map is uniform too.
    """
    uniform = visible / np.maximum(visible.sum(-1, keepdims=True), 1)
    return weights, uniform, uniform if kind == "cross" else mean_by_offset(weights, visible)


def mean_by_offset(weights: Array, visible: Array) -> Array:
    """Return the mean weight at each offset j - i over the rows that see it, with rows scaled to sum to 1.

    >>> mean_by_offset(np.array([[1.0, 0], [0.5, 0.5]]), np.tri(2, dtype=bool)).tolist()
    [[1.0, 0.0], [0.4, 0.6]]
    """
    queries, keys = weights.shape
    offset = np.arange(keys) - np.arange(queries)[:, None] + queries - 1
    total, count = (np.bincount(offset[visible], summed, queries + keys - 1) for summed in (weights[visible], None))
    mean = total / np.maximum(count, 1)
    return normalized_rows(np.where(visible, mean[offset], 0.0))


def normalized_rows(rows: Array) -> Array:
    """Return rows scaled to sum to 1; a row of zeros stays zero."""
    total = rows.sum(-1, keepdims=True)
    normalized: Array = rows / np.where(total > 0, total, 1.0)
    return normalized


def self_attention_step(weights: Array, residual: bool) -> Array:
    """Return Ã: (Ā + I) with rows scaled to sum to 1; without residual, Ā with rows scaled to sum to 1."""
    return normalized_rows(weights + np.eye(len(weights)) if residual else weights)


def cross_attention_step(weights: Array, residual: bool) -> tuple[Array, Array]:
    """Return the share of itself that each target token keeps [query], and its shares of source tokens [query, key].

    Both together sum to 1.
    """
    both = normalized_rows(np.column_stack([np.full(len(weights), float(residual)), weights]))
    return both[:, 0], both[:, 1:]


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
            step = self_attention_step(weights, self._residual)
            shares[kind] = step @ shares[kind] if kind in shares else step
            if kind == "decoder" and "cross" in shares:
                shares["cross"] = step @ shares["cross"]
            return
        kept, step = cross_attention_step(weights, self._residual)
        shares["decoder"] = kept[:, None] * shares.get("decoder", np.eye(len(kept)))
        received = step @ shares["encoder"] if "encoder" in shares else step
        shares["cross"] = kept[:, None] * shares["cross"] + received if "cross" in shares else received

    def of(self, kind: Kind) -> Array:
        """Return the shares after the layers so far: [query, key]."""
        return self._shares[kind]


class GraphBuilder:
    """Builds the graph of layers: each layer is a level, with steps down to the levels that it reads."""

    def __init__(self, residual: bool) -> None:
        self._residual = residual
        self._levels: list[Level] = []
        self._steps: list[Step] = []
        self._top: dict[Stack, int] = {}

    def add(self, kind: Kind, layer: int, weights: Array) -> None:
        """Add the map [query, key] of the next layer, in the order of `stacking_order`."""
        stack: Stack = "encoder" if kind == "encoder" else "decoder"
        below = self._top[stack] if stack in self._top else self._add_level(stack, "input")
        upper = self._add_level(stack, f"{layer} cross" if kind == "cross" else str(layer))
        if kind == "cross":
            kept, received = cross_attention_step(weights, self._residual)
            self._steps += [Step(upper, below, np.diag(kept)), Step(upper, self._top["encoder"], received)]
        else:
            self._steps.append(Step(upper, below, self_attention_step(weights, self._residual)))

    def _add_level(self, stack: Stack, name: str) -> int:
        """Add a level on top of a stack, and return its number."""
        self._levels.append(Level(stack, name))
        self._top[stack] = len(self._levels) - 1
        return self._top[stack]

    def graph(self, stack: Stack) -> Graph:
        """Return the graph that leads to the top of a stack; the decoder's contains the encoder's."""
        if stack == "decoder":
            return Graph(tuple(self._levels), tuple(self._steps))
        count = self._top["encoder"] + 1
        return Graph(tuple(self._levels[:count]), tuple(step for step in self._steps if step.upper < count))
