"""Attention flow: maximum flows through the layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.studies.flow.result import Graph

CAPACITY = 2**31 - 1
"""What goes down in one call, in whole numbers, is at most what 32 bits hold."""
PIPES = 50_000
"""About so many pipes in one call, unless one input alone needs more."""


def maximum_flows(
    graph: Graph, rows: Sequence[int] | Array, advance: Callable[[float], None] = lambda done: None
) -> Array:
    """Attention flow: how much of a token at the top could come from each input token, were attention pipes.

    formula   F_ij = the maximum flow from (top, i) to (input, j), where Ã_l[a, b] is the capacity from (l, a) down to
              (l - 1, b), as in rollout, and from a decoder's token to the encoder's top
    axes      [row, input token], inputs one stack after the other in the order of `graph.inputs`
    unit      0 to 1, as no more than 1 leaves a token
    undefined never; zero where no path leads
    caveat    the flow to one input says nothing of those to others, which share the pipes; in deep models nearly all
              are as large as what leaves the top or enters the input
    source    Abnar & Zuidema 2020

    Found by SciPy (Dinic's algorithm) on capacities rounded down to whole numbers: 2^31 for 1, where several inputs are
    solved at once so many times less. What is returned is the true capacity, in float64, of the cut that limits that
    flow: never less than F, and more by at most one such unit for each pipe that is cut.

    advance  hears of each row that is done
    """
    network = _Network(graph)
    found = np.zeros((len(rows), len(network.inputs)))
    for at, row in enumerate(rows):
        found[at] = _Top(network, network.top + int(row)).flows()
        advance(1)
    return found


class _Network:
    """The graph with its tokens numbered level by level, from below.

    ends    [pipe, 2] the tokens from and to which it leads
    widths  [pipe]
    top     the first token of the highest level
    inputs  the tokens of all inputs
    """

    def __init__(self, graph: Graph) -> None:
        sizes = graph.sizes()
        first = np.concatenate([[0], np.cumsum(sizes)])
        ends, widths = [], []
        for step in graph.steps:
            upper, lower = np.nonzero(step.weights)
            ends.append(np.stack([first[step.upper] + upper, first[step.lower] + lower], axis=1))
            widths.append(step.weights[upper, lower])
        self.ends, self.widths = np.concatenate(ends), np.concatenate(widths)
        self.tokens, self.top = int(first[-1]), int(first[-2])
        self.inputs = np.concatenate([first[at] + np.arange(sizes[at]) for at in graph.inputs.values()])

    def matrix(self, values: Array, chosen: Array | slice = slice(None)) -> Any:
        """A sparse matrix [from, to] of some pipes."""
        upper, lower = self.ends[chosen].T
        return _sparse().csr_array((values, (upper, lower)), shape=(self.tokens, self.tokens))


class _Top:
    """The pipes below one token of the highest level, of which it reaches `inputs`.

    Several inputs are solved in one call, each with a copy of the pipes, as a call on a small graph costs more than
    what it does there. The copies share the token on top and a drain, which of each copy one input is opened to.
    """

    def __init__(self, network: _Network, token: int) -> None:
        below = np.zeros(network.tokens, bool)
        below[_reached(network.matrix(network.widths), token)] = True
        used = below[network.ends[:, 0]]
        ends, self._widths = network.ends[used], network.widths[used]
        self._is_reached = below[network.inputs]
        inputs = network.inputs[self._is_reached]
        leaving = ends[:, 0] == token
        self._leaving = self._widths[leaving].sum()
        self._entering = np.bincount(ends[:, 1], self._widths, network.tokens)[inputs]

        calls = -(-len(inputs) // max(1, PIPES // max(1, len(ends)))) or 1
        self._copies = -(-len(inputs) // calls) or 1
        shift = network.tokens * np.arange(self._copies)
        self._top, self._drain = network.tokens * self._copies, network.tokens * self._copies + 1
        self._ends = ends.T[:, None] + shift[:, None]
        self._ends[0, :, leaving] = self._top
        whole = np.floor(self._widths * (CAPACITY // self._copies)).astype(np.int32)
        self._leaving_whole = int(whole[leaving].sum(dtype=np.int64))
        self._entering_whole = np.bincount(ends[:, 1], whole, network.tokens)[inputs]
        self._outlets = inputs + shift[:, None]
        self._matrix, self._valves = self._pipes(whole)

    def _pipes(self, whole: Array) -> tuple[Any, Array]:
        """All copies as a matrix of capacities, all outlets closed; and where in it the outlets are [copy, input]."""
        upper, lower = (
            np.concatenate([self._ends[0].ravel(), self._outlets.ravel()]),
            np.concatenate([self._ends[1].ravel(), np.full(self._outlets.size, self._drain)]),
        )
        numbers = np.arange(1, len(upper) + 1, dtype=np.int32)
        matrix = _sparse().csr_array((numbers, (upper, lower)), shape=(self._drain + 1,) * 2)
        place = np.argsort(matrix.data)
        closed = np.zeros(self._outlets.size, np.int32)
        matrix.data = np.concatenate([np.tile(whole, self._copies), closed])[matrix.data - 1]
        return matrix, place[-self._outlets.size :].reshape(self._outlets.shape)

    def flows(self) -> Array:
        """[input token] the maximum flow down to each."""
        found = np.zeros(len(self._is_reached))
        count = len(self._entering)
        parts = [np.arange(at, min(at + self._copies, count)) for at in range(0, count, self._copies)]
        if parts:
            found[self._is_reached] = np.concatenate([self._flows_to(part) for part in parts])
        return found

    def _flows_to(self, inputs: Array) -> Array:
        copies = np.arange(len(inputs))
        self._matrix.data[self._valves] = 0
        self._matrix.data[self._valves[copies, inputs]] = CAPACITY
        found = _sparse().csgraph.maximum_flow(self._matrix, self._top, self._drain)
        arrived = -_row(found.flow, self._drain)[self._outlets[copies, inputs]]
        cuts = np.where(arrived == self._entering_whole[inputs], self._entering[inputs], np.nan)
        cuts[arrived == self._leaving_whole] = self._leaving
        if np.isnan(cuts).any():
            cuts = np.where(np.isnan(cuts), self._inner_cuts(found.flow)[copies], cuts)
        return cuts

    def _inner_cuts(self, flow: Any) -> Array:
        """[copy] the width of the pipes that let no more through."""
        rest = self._matrix - flow
        rest.eliminate_zeros()
        reached = np.zeros(self._drain + 1, bool)
        reached[_reached(rest, self._top)] = True
        severed = reached[self._ends[0]] & ~reached[self._ends[1]]
        cuts: Array = severed @ self._widths
        return cuts


def _row(matrix: Any, row: int) -> Array:
    """One row of a sparse matrix."""
    dense = np.zeros(matrix.shape[1], np.int64)
    part = slice(*matrix.indptr[row : row + 2])
    dense[matrix.indices[part]] = matrix.data[part]
    return dense


def _reached(matrix: Any, token: int) -> Array:
    """The tokens to which paths lead."""
    reached: Array = _sparse().csgraph.breadth_first_order(matrix, token, return_predecessors=False)
    return reached


def _sparse() -> Any:
    """SciPy's sparse matrices and their graph algorithms; a `UsageError` where it is not installed."""
    try:
        import scipy.sparse.csgraph
    except ImportError as error:
        raise UsageError('attention flow needs SciPy: pip install "attncli[analyses]"') from error
    return scipy.sparse
