"""Attention flow: maximum flows through the graph of layers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.errors import UsageError
from attncli.studies.flow.result import Graph

CAPACITY = 2**31 - 1
"""Largest total capacity of one call of SciPy, which needs whole numbers of 32 bits."""
PIPES = 50_000
"""Approximate number of pipes in one call of SciPy; there are more if a single input needs more."""


def maximum_flows(
    graph: Graph, rows: Sequence[int] | Array, advance: Callable[[float], None] = lambda count: None
) -> Array:
    """Return the attention flow from each input token to tokens at the top: [row, input token], from 0 to 1.

    `attncli explain attention-flow` shows formula, caveats and source. Inputs follow each other in the order of
    `graph.inputs`; the flow is 0 without a path. SciPy (Dinic's algorithm) needs whole numbers: capacities are
    multiplied by 2^31 - 1, divided by the number of inputs of one call, and rounded down. The result is the true
    capacity, in float64, of the cut that limits this flow: at most one rounding unit too large for each of its pipes.

    rows     tokens at the top
    advance  called with 1 after each row
    Raise UsageError if SciPy is missing.
    """
    network = _Network(graph)
    flows = np.zeros((len(rows), len(network.inputs)))
    for number, row in enumerate(rows):
        flows[number] = _SourceFlows(network, network.top + int(row)).flows()
        advance(1)
    return flows


class _Network:
    """The graph with its tokens numbered level by level, from below.

    ends        [pipe, 2] upper and lower token of each pipe
    capacities  [pipe]
    tokens      number of tokens
    top         first token of the highest level
    inputs      tokens of all inputs
    matrix      the capacities as a sparse matrix [upper token, lower token]
    """

    def __init__(self, graph: Graph) -> None:
        sizes = graph.sizes()
        first = np.concatenate([[0], np.cumsum(sizes)])
        ends, capacities = [], []
        for step in graph.steps:
            upper, lower = np.nonzero(step.weights)
            ends.append(np.stack([first[step.upper] + upper, first[step.lower] + lower], axis=1))
            capacities.append(step.weights[upper, lower])
        self.ends, self.capacities = np.concatenate(ends), np.concatenate(capacities)
        self.tokens, self.top = int(first[-1]), int(first[-2])
        self.inputs = np.concatenate([first[level] + np.arange(sizes[level]) for level in graph.inputs.values()])
        self.matrix = _sparse().csr_array((self.capacities, self.ends.T), shape=(self.tokens, self.tokens))


class _SourceFlows:
    """The pipes below one token of the highest level, the source, and the flows from it.

    A call on a small graph costs more than its work there, so several inputs are solved in one call, each with its own
    copy of the pipes. The copies share the source and a drain. Each copy has closed outlets from all inputs to the
    drain; the outlet of one input is opened.
    """

    def __init__(self, network: _Network, source: int) -> None:
        below = _reached(network.matrix, source)
        used = below[network.ends[:, 0]]
        ends, self._capacities = network.ends[used], network.capacities[used]
        self._is_reached = below[network.inputs]
        inputs = network.inputs[self._is_reached]
        leaving = ends[:, 0] == source
        self._leaving = self._capacities[leaving].sum()
        self._entering = np.bincount(ends[:, 1], self._capacities, network.tokens)[inputs]

        calls = -(-len(inputs) // max(1, PIPES // max(1, len(ends)))) or 1
        self._copies = -(-len(inputs) // calls) or 1
        shift = network.tokens * np.arange(self._copies)
        self._source, self._drain = network.tokens * self._copies, network.tokens * self._copies + 1
        self._ends = ends.T[:, None] + shift[:, None]
        self._ends[0, :, leaving] = self._source
        whole = np.floor(self._capacities * (CAPACITY // self._copies)).astype(np.int32)
        self._leaving_whole = int(whole[leaving].sum(dtype=np.int64))
        self._entering_whole = np.bincount(ends[:, 1], whole, network.tokens)[inputs]
        self._outlets = inputs + shift[:, None]
        self._matrix, self._outlet_entries = self._copied_pipes(whole)

    def _copied_pipes(self, whole: Array) -> tuple[Any, Array]:
        """Return the matrix of all copies with closed outlets, and the entries of the outlets in it: [copy, input]."""
        upper = np.concatenate([self._ends[0].ravel(), self._outlets.ravel()])
        lower = np.concatenate([self._ends[1].ravel(), np.full(self._outlets.size, self._drain)])
        numbers = np.arange(1, len(upper) + 1, dtype=np.int32)
        matrix = _sparse().csr_array((numbers, (upper, lower)), shape=(self._drain + 1,) * 2)
        entries = np.argsort(matrix.data)
        capacities = np.concatenate([np.tile(whole, self._copies), np.zeros(self._outlets.size, np.int32)])
        matrix.data = capacities[matrix.data - 1]
        return matrix, entries[-self._outlets.size :].reshape(self._outlets.shape)

    def flows(self) -> Array:
        """Return the maximum flow from the source to each input: [input token]."""
        flows, reached = np.zeros(len(self._is_reached)), np.flatnonzero(self._is_reached)
        for first in range(0, len(reached), self._copies):
            part = np.arange(first, min(first + self._copies, len(reached)))
            flows[reached[part]] = self._flows_to(part)
        return flows

    def _flows_to(self, inputs: Array) -> Array:
        """Return the flows to some inputs, solved in one call: [input]."""
        copies = np.arange(len(inputs))
        self._matrix.data[self._outlet_entries] = 0
        self._matrix.data[self._outlet_entries[copies, inputs]] = CAPACITY
        solution = _sparse().csgraph.maximum_flow(self._matrix, self._source, self._drain)
        arrived = -solution.flow[[self._drain]].toarray()[0, self._outlets[copies, inputs]]
        cuts = np.where(arrived == self._entering_whole[inputs], self._entering[inputs], np.nan)
        cuts[arrived == self._leaving_whole] = self._leaving
        if np.isnan(cuts).any():
            # elsewhere: the capacity of the pipes that limit the flow of a copy
            rest = self._matrix - solution.flow
            rest.eliminate_zeros()
            reached = _reached(rest, self._source)
            severed = reached[self._ends[0]] & ~reached[self._ends[1]]
            cuts = np.where(np.isnan(cuts), (severed @ self._capacities)[copies], cuts)
        return cuts


def _reached(matrix: Any, token: int) -> Array:
    """Return whether each token can be reached from a token: [token] bool."""
    reached = np.zeros(matrix.shape[0], bool)
    reached[_sparse().csgraph.breadth_first_order(matrix, token, return_predecessors=False)] = True
    return reached


def _sparse() -> Any:
    """Return `scipy.sparse` with its graph algorithms; raise UsageError if SciPy is missing."""
    try:
        import scipy.sparse.csgraph
    except ImportError as error:
        raise UsageError('attention flow needs SciPy: pip install "attncli[analyses]"') from error
    return scipy.sparse
