"""How similar the heads, the rows of a layer and the hidden states of its tokens are on one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from attncli.capturing.capture import Stack, hidden_states
from attncli.data import Array, Attention, Kind, LayerMaps, Rows
from attncli.data.part_states import PartState
from attncli.engine.passes import Pass
from attncli.engine.progress import Track, tokens_in, untracked
from attncli.errors import UsageError
from attncli.stream.divergence import HalfRows, divergence_from_mean
from attncli.stream.rows_to_mean import MOST_ROWS
from attncli.stream.sums import Moments, absorb_moments

Tensor = torch.Tensor
LayerHead = tuple[int, int]
"""The numbers of a layer and of a head in it."""
States = Mapping[str, Array]
"""By stack: `mean_cosine` and `rank_one_distance` of the input and after each layer: [layer + 1, 2]."""
FEWEST_ROWS = 16
MOST_CELLS = 1 << 26
_SHORT = 1024
"""Keys of a text of which all sampled rows are compared."""
_ROWS_AT_ONCE = 8


class PairLimit(NamedTuple):
    """How many rows of a long text are compared in all pairs of heads.

    cells  most cells of all pairs
    rows   number of rows that are compared in any case
    """

    cells: int
    rows: int


OBSERVED, BY_POSITION = PairLimit(1 << 31, 32), PairLimit(1 << 30, 16)
"""The limits of the heads, and of their weights by position alone: these rows are smooth, so that fewer suffice."""


@dataclass(frozen=True, eq=False)
class TextDistances:
    """Distances between the heads of one kind on one text.

    heads       layer and number of each head
    distances   [head, head] distance between two heads, √nat
    to_uniform  [head] distance to uniform weights over the visible keys, √nat
    layers      `smoothness` of each layer, and of uniform weights in it
    rows        number of rows that were compared
    """

    heads: tuple[LayerHead, ...]
    distances: Array
    to_uniform: Array
    layers: dict[int, tuple[float, float]]
    rows: int


def sampled_rows(queries: int, keys: int = 1, heads: int = 1) -> range:
    """Return which rows of a text are compared: evenly spread, at most 128.

    There are fewer, but at least 16, if the rows of all heads would have more than 2^26 weights.

    >>> sampled_rows(300)
    range(0, 300, 3)
    >>> len(sampled_rows(4000, keys=4000, heads=1000))
    16
    """
    most = min(MOST_ROWS, max(FEWEST_ROWS, MOST_CELLS // (keys * heads)))
    return range(0, queries, -(-queries // most))


def compared_rows(rows: int, keys: int, heads: int, limit: PairLimit) -> slice:
    """Return which of the sampled rows are compared head by head: every n-th of a text of more than 1,024 keys.

    >>> compared_rows(125, 2000, 144, OBSERVED)
    slice(0, 125, 2)
    """
    pairs = heads * (heads + 1) // 2
    most = rows if keys <= _SHORT else max(limit.rows, limit.cells // (pairs * keys))
    return slice(0, rows, -(-rows // most))


def text_distances(attention: Attention, limit: PairLimit = OBSERVED) -> TextDistances:
    """Return how far the rows of each head are from those of every other head, and from uniform attention.

    `attncli explain head-distance` shows formula, caveat and source. Distances are from 0 (equal) to 0.833 √nat (no key
    in common), and NaN if two heads have no defined row in common.
    Raise UsageError if the maps of the layers have different shapes.
    """
    layers = attention.layers
    if len({maps.weights.shape[1:] for maps in layers}) > 1:
        raise UsageError("layers that read texts of different lengths cannot be compared: choose some with --layer")
    heads = tuple((int(maps.layer), head) for maps in layers for head in maps.heads)
    uniform = _uniform_weights(layers)
    rows_kept, keys = uniform.shape[1:]
    compared = compared_rows(rows_kept, keys, len(heads), limit)
    sums, rows, uniform_sums, uniform_rows = _pair_sums(layers, uniform, compared)
    distances, to_uniform = (
        values.clamp_min(0).sqrt().numpy() for values in (sums / rows, uniform_sums / uniform_rows)
    )
    np.fill_diagonal(distances, 0)
    shared = smoothness(uniform) if len(uniform) == 1 else None
    layer_smoothness: dict[int, tuple[float, float]] = {}
    for maps in layers:
        first = heads.index((int(maps.layer), maps.heads[0]))
        of_uniform = smoothness(uniform[first : first + len(maps.heads)]) if shared is None else shared
        layer_smoothness[int(maps.layer)] = smoothness(torch.tensor(maps.weights)), of_uniform
    return TextDistances(heads, distances, to_uniform, layer_smoothness, uniform[:, compared].shape[1])


def _pair_sums(layers: Sequence[LayerMaps], uniform: Tensor, compared: slice) -> tuple[Tensor, ...]:
    """Return the sums of JS of all pairs of heads, their numbers of rows, and both for each head and uniform weights.

    Few rows at a time are compared, on the keys that these see.
    """
    count, (_, queries, keys) = sum(len(maps.heads) for maps in layers), uniform.shape
    seen = uniform > 0
    sizes = (seen.sum(-1) if len(seen) == 1 else torch.full((1, queries), keys)).clamp_min(1).double()[None]
    totals = [torch.zeros(shape, dtype=torch.float64) for shape in ((count, count),) * 2 + ((count,),) * 2]
    for first in range(0, queries, _ROWS_AT_ONCE * compared.step):
        part = slice(first, first + _ROWS_AT_ONCE * compared.step, compared.step)
        columns = np.flatnonzero(seen[:, part].any(1).any(0).numpy())
        span = slice(columns[0], columns[-1] + 1) if len(columns) else slice(0, 1)
        weights = torch.from_numpy(np.concatenate([maps.weights[:, part, span] for maps in layers])).nan_to_num_(0.0)
        weights = weights.double() if keys <= _SHORT else weights
        rows, of_uniform = (
            HalfRows.of(values[None], sizes[..., part], torch.ones(values[None].shape[:3], dtype=torch.bool))
            for values in (weights, uniform[:, part, span].to(weights.dtype))
        )
        for total, values in zip(totals, (*rows.among(), *rows.with_same(of_uniform)), strict=True):
            total += values[0]
    return tuple(totals)


def smoothness(weights: Tensor) -> float:
    """Return how far the rows of a layer [head, row, key] are from their mean row; NaN if no row has weight.

    It is from 0 (all rows equal) to ln 2 = 0.693 nat; `attncli explain rows_to_mean` shows formula and caveat.
    """
    is_long = weights.is_floating_point() and weights.shape[2] > _SHORT
    weights = (weights if is_long else weights.double()).nan_to_num(0.0)
    total = weights.sum(-1).double()
    rows = weights * torch.where(total > 0, 1 / total, 0.0).to(weights.dtype)[..., None]
    return float(divergence_from_mean(rows.flatten(0, 1), (total > 0).double().flatten()))


def _uniform_weights(layers: Sequence[LayerMaps]) -> Tensor:
    """Return equal weights on the visible keys of rows without NaN: [1 or head, row, key]; one map if heads agree."""
    visible = []
    for maps in layers:
        cells = np.ones((1, *maps.weights.shape[1:]), bool) if maps.visible is None else maps.visible
        undefined = np.isnan(maps.weights).any(-1, keepdims=True)
        visible.append(np.array(cells & ~undefined if undefined.any() else cells))
    if all(len(cells) == 1 and np.array_equal(cells, visible[0]) for cells in visible):
        return torch.from_numpy(visible[0])
    head_cells = [np.broadcast_to(cells, maps.weights.shape) for cells, maps in zip(visible, layers, strict=True)]
    return torch.from_numpy(np.concatenate(head_cells))


class StatesSink:
    """A sink for how similar the hidden states of the tokens of each text are; capture hands them over by text."""

    takes_states = True

    def __init__(self) -> None:
        self._moments: dict[str, Moments] = {}

    def add(self, rows: Rows) -> None:
        """Ignore a block: states come once for each text."""

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Ignore the end of a layer."""

    def add_states(self, states: Mapping[Stack, Sequence[Tensor]]) -> None:
        """Add one text: the input of the first layer and each layer's output by stack, [token, width] each."""
        for stack, layers in states.items():
            numbers = np.array([[mean_cosine(state), rank_one_distance(state)] for state in layers])
            self._moments.setdefault(stack, Moments(numbers.shape)).add(numbers[None])

    def means(self) -> States:
        """Return the means over texts."""
        return means_of(self._moments)

    def state(self) -> PartState:
        """Return the moments over texts by stack."""
        return {stack: of_stack.state() for stack, of_stack in self._moments.items()}


def state_numbers(passes: Sequence[Pass], track: Track = untracked) -> States:
    """Run the texts of these passes once more, and return how similar their hidden states are, mean over texts."""
    sink = StatesSink()
    batches = [(prepared, batch) for prepared in passes for batch in prepared.batches]
    with track("hidden states", sum(tokens_in(batch) for _, batch in batches), "tokens") as advance:
        for prepared, batch in batches:
            for _, states in hidden_states(prepared.loaded, prepared.plan, batch):
                sink.add_states(states)
            advance(tokens_in(batch))
    return sink.means()


def means_of(moments: Mapping[str, Moments]) -> States:
    """Return the means over texts."""
    return {stack: of_stack.mean for stack, of_stack in moments.items()}


def absorb_states(moments: dict[str, Moments], state: PartState) -> None:
    """Add the texts of a state to moments by stack."""
    for stack, values in state.items():
        absorb_moments(moments, stack, values)


def mean_cosine(states: Tensor) -> float:
    """Return the mean cosine between the states [token, width] of two tokens, from -1 to 1; NaN for a single token.

    Formula  mean over pairs i < j of cos(x_i, x_j) = (‖Σ x_i/‖x_i‖‖² - n) / (n (n-1))
    """
    count = len(states)
    if count < 2:
        return float("nan")
    unit = torch.nn.functional.normalize(states.double(), dim=-1)
    return float((unit.sum(0).square().sum() - unit.square().sum()) / (count * (count - 1)))


def rank_one_distance(states: Tensor) -> float:
    """Return how far the states [token, width] are from being equal, from 0 (equal) to 1; NaN if all are 0.

    Formula  ‖X - 1 x̄ᵀ‖ / ‖X‖, Frobenius norms; the mean token x̄ is the vector that makes this smallest
    Source   Dong et al. 2021, who take the root of the product of the 1- and the ∞-norm
    """
    states = states.double()
    norm = states.norm()
    return float((states - states.mean(0)).norm() / norm) if norm > 0 else float("nan")
