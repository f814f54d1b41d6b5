"""What attention flow of all pairs costs: networkx, SciPy call by call, and attncli, on the same layers.

    python benchmarks/flow.py                       # 6 layers x 16 tokens and 12 layers x 64 tokens
    python benchmarks/flow.py --layers 6 --tokens 16

The layers are random rows as sharp as attention is, with residual. attncli is timed on all pairs, from the maps
to the matrix; networkx and SciPy on a sample of pairs, with the graph already there, the rest in proportion. networkx
has no capacities but those of Python objects; SciPy takes whole numbers of 32 bits, so here they are rounded. Numbers
are CPU seconds of this machine now, the ratios are what may be compared. The last column is the largest difference
between attncli and networkx.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import networkx
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from attncli.data import Array
from attncli.studies.flow.layer_steps import GraphBuilder
from attncli.studies.flow.maximum_flow import maximum_flows
from attncli.studies.flow.result import Graph

Pairs = list[tuple[int, int]]
SCALE = 2**31 - 1


def layers(count: int, tokens: int, causal: bool) -> Array:
    maps = np.random.default_rng(0).dirichlet(np.full(tokens, 0.2), (count, tokens))
    if causal:
        maps = np.tril(maps) + 1e-9 * np.tri(tokens)
        maps /= maps.sum(-1, keepdims=True)
    return maps


def graph_of(maps: Array) -> Graph:
    steps = GraphBuilder(residual=True)
    for layer, weights in enumerate(maps):
        steps.add("encoder", layer, weights)
    return steps.graph("encoder")


def by_networkx(graph: Graph, algorithm: Callable[..., object]) -> Callable[[int, int], float]:
    made = networkx.DiGraph()
    for step in graph.steps:
        for upper, lower in zip(*np.nonzero(step.weights), strict=True):
            made.add_edge((step.upper, upper), (step.lower, lower), capacity=float(step.weights[upper, lower]))
    top = len(graph.levels) - 1
    return lambda i, j: networkx.maximum_flow_value(made, (top, i), (0, j), flow_func=algorithm)


def by_scipy(graph: Graph) -> Callable[[int, int], float]:
    tokens = graph.sizes()[0]
    ends, widths = [], []
    for step in graph.steps:
        upper, lower = np.nonzero(step.weights)
        ends.append((step.upper * tokens + upper, step.lower * tokens + lower))
        widths.append(step.weights[upper, lower])
    whole = (np.concatenate(widths) * SCALE).astype(np.int32)
    upper, lower = (np.concatenate(side) for side in zip(*ends, strict=True))
    matrix = csr_array((whole, (upper, lower)), shape=(tokens * len(graph.levels),) * 2)
    top = (len(graph.levels) - 1) * tokens
    return lambda i, j: maximum_flow(matrix, top + i, j).flow_value / SCALE


def timed(solve: Callable[[int, int], float], pairs: Pairs) -> tuple[list[float], float]:
    start = time.process_time()
    found = [solve(i, j) for i, j in pairs]
    return found, (time.process_time() - start) / len(pairs)


def compare(count: int, tokens: int, causal: bool, sample: int) -> None:
    maps = layers(count, tokens, causal)
    maximum_flows(graph_of(maps[:1]), [0])  # SciPy is loaded
    start = time.process_time()
    graph = graph_of(maps)
    ours = maximum_flows(graph, range(tokens))
    own = (time.process_time() - start) / tokens**2
    rng = np.random.default_rng(1)
    pairs = [(int(i), int(rng.integers(0, i + 1 if causal else tokens))) for i in rng.integers(0, tokens, sample)]
    print(f"{count} layers x {tokens} tokens, {'causal' if causal else 'two-sided'}, all {tokens**2:,} pairs")
    print(f"  attncli                {own * 1e3:9.3f} ms a pair {own * tokens**2:9.1f} s in all")
    algorithms = networkx.algorithms.flow
    ways = {
        "networkx preflow_push": by_networkx(graph, algorithms.preflow_push),
        "networkx edmonds_karp": by_networkx(graph, algorithms.edmonds_karp),
        "scipy, pair by pair": by_scipy(graph),
    }
    for name, solve in ways.items():
        found, each = timed(solve, pairs if name.startswith("scipy") else pairs[: max(4, sample // 8)])
        error = max(abs(value - ours[pair]) for value, pair in zip(found, pairs, strict=False))
        print(f"  {name:22} {each * 1e3:9.3f} ms a pair {each / own:9.1f} x attncli   off by {error:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[6, 12])
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--sample", type=int, default=64, help="pairs of networkx and SciPy")
    asked = parser.parse_args()
    for count, tokens in zip(asked.layers, asked.tokens, strict=True):
        for causal in (False, True):
            compare(count, tokens, causal, asked.sample)


if __name__ == "__main__":
    main()
