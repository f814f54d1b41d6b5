"""Blocks of attention made by hand or at random, padded or not, for the tests of metrics and sinks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st

from attncli.data import Input, Kind, Metric, Rows, Text, Tokens, Visibility
from attncli.stream import Measure, Sink


@dataclass(frozen=True, eq=False)
class Map:
    """One layer of one unpadded text: weights [head, query, key], visible [query, key], special [key]."""

    weights: torch.Tensor
    visible: torch.Tensor
    special: torch.Tensor


def causal(n: int) -> list[list[bool]]:
    return [[j <= i for j in range(n)] for i in range(n)]


def by_hand(
    weights: Sequence[Sequence[float]],
    visible: Sequence[Sequence[bool]] | None = None,
    special: Iterable[int] = (),
) -> Map:
    """Return a map of one head with these weights; all keys are visible by default."""
    tensor = torch.tensor(weights, dtype=torch.float32)[None]
    mask = torch.ones(tensor.shape[1:], dtype=torch.bool) if visible is None else torch.tensor(visible)
    flags = torch.zeros(tensor.shape[2], dtype=torch.bool)
    flags[list(special)] = True
    return Map(tensor, mask, flags)


def block(
    maps: Sequence[Map],
    kind: Kind = "encoder",
    *,
    layer: int = 0,
    texts: Sequence[int] | None = None,
    padding: tuple[int, int] = (0, 0),
    left: bool = False,
) -> Rows:
    """Return all rows of some texts as one block, with at least `padding` queries and keys of arbitrary weights."""
    heads = maps[0].weights.shape[0]
    n = max(text.weights.shape[1] for text in maps) + padding[0]
    m = max(text.weights.shape[2] for text in maps) + padding[1]
    dtype = maps[0].weights.dtype
    weights = torch.zeros((len(maps), heads, n, m), dtype=dtype)
    visible = torch.zeros((len(maps), 1, n, m), dtype=torch.bool)
    query_positions, key_positions = torch.full((len(maps), n), -1), torch.full((len(maps), m), -1)
    special = torch.ones((len(maps), m), dtype=torch.bool)
    for entry, text in enumerate(maps):
        _, rows, keys = text.weights.shape
        q = slice(n - rows, n) if left else slice(0, rows)
        k = slice(m - keys, m) if left else slice(0, keys)
        weights[entry] = 1 / m
        weights[entry, :, q] = 0
        weights[entry, :, q, k] = text.weights
        visible[entry, 0, q, k] = text.visible
        query_positions[entry, q], key_positions[entry, k] = torch.arange(rows), torch.arange(keys)
        special[entry, k] = text.special
    visibility = Visibility(
        visible=visible,
        query_positions=query_positions,
        key_positions=key_positions,
        special_keys=special,
        query_lengths=tuple(text.weights.shape[1] for text in maps),
        key_lengths=tuple(text.weights.shape[2] for text in maps),
        special_counts=tuple(int(text.special.sum()) for text in maps),
    )
    numbers = tuple(range(len(maps)) if texts is None else texts)
    return Rows(kind, layer, tuple(range(heads)), numbers, weights, visibility)


def part(rows: Rows, first: int, last: int, heads: Sequence[int] | None = None) -> Rows:
    """Return some rows and heads of a block."""
    indices = list(range(len(rows.heads)) if heads is None else heads)
    visibility = replace(
        rows.visibility,
        visible=rows.visibility.visible[:, :, first:last],
        query_positions=rows.query_positions[:, first:last],
    )
    numbers = tuple(rows.heads[index] for index in indices)
    return replace(rows, heads=numbers, raw=rows.raw[:, indices, first:last], visibility=visibility)


def of_keys(rows: Rows, keys: slice | Sequence[int] | torch.Tensor) -> Rows:
    """Return the block with some of its keys."""
    kept = {name: getattr(rows.visibility, name)[..., keys] for name in ("visible", "key_positions", "special_keys")}
    return replace(rows, raw=rows.raw[..., keys], visibility=replace(rows.visibility, **kept))


def as_streamed(rows: Rows) -> Rows:
    """Return the block of one unpadded text as capture sends it: consecutive positions, weights up to a factor."""
    queries, keys = (
        slice(int(axis[0, 0]), int(axis[0, -1]) + 1) for axis in (rows.query_positions, rows.key_positions)
    )
    largest = rows.raw.amax(-1).clamp_min(1e-30)
    visibility = replace(rows.visibility, slices=(queries, keys))
    return replace(rows, raw=rows.raw / largest[..., None], scale=largest, visibility=visibility)


def with_visible(rows: Rows, visible: torch.Tensor) -> Rows:
    """Return the block with another mask."""
    return replace(rows, visibility=replace(rows.visibility, visible=visible))


def inputs(maps: Sequence[Map]) -> list[Input]:
    """Return inputs with as many source and target tokens as the maps have keys and queries."""
    sides = [(text.weights.shape[2], text.weights.shape[1]) for text in maps]
    return [Input(index, Text("made"), _tokens(keys), _tokens(queries)) for index, (keys, queries) in enumerate(sides)]


def _tokens(n: int) -> Tokens:
    return Tokens.plain([f"t{position}" for position in range(n)])


def feed(sink: Sink, blocks: Sequence[Rows]) -> None:
    """Add the blocks to a sink, then end their layers."""
    for rows in blocks:
        sink.add(rows)
    for kind, layer in dict.fromkeys((rows.kind, rows.layer) for rows in blocks):
        sink.end_layer(kind, layer)


def row_values(metric: Metric, text: Map, kind: Kind = "encoder") -> list[float]:
    """Return the values of a row metric for the first head, NaN where undefined."""
    values: list[float] = metric.compute(block([text], kind))[0, 0].tolist()
    return values


def head_value(metric: Metric, text: Map, kind: Kind = "encoder") -> float:
    """Return the value of any metric for the first head, as the sink reports it."""
    sink = Measure([metric])
    feed(sink, [block([text], kind)])
    return float(sink.result(inputs([text])).heads[metric.name].values[0])


def undefined(values: Iterable[float]) -> list[bool]:
    return [math.isnan(value) for value in values]


# ---------------------------------------------------------------------------------------------- at random


def mask(rule: str, n: int, m: int) -> torch.Tensor:
    """Return [query, key], the keys visible to each row by one of the rules that models have."""
    i, j = torch.arange(n)[:, None], torch.arange(m)[None, :]
    rules = {
        "all": torch.ones((n, m), dtype=torch.bool),
        "causal": j <= i,
        "sliding": (j <= i) & (i - j < 3),
        "chunked": (j <= i) & (i // 4 == j // 4),
        "blind": (j <= i) & (i != n // 2),
    }
    return rules[rule]


def random_map(
    seed: int, heads: int, n: int, m: int, rule: str = "all", origin: str = "float32", lost: float = 0.0
) -> Map:
    """Return random sharp softmax rows; `lost` is the share that a learned sink took."""
    generator = np.random.default_rng(seed)
    scores = torch.from_numpy(generator.normal(size=(heads, n, m)) * 3)
    visible = mask(rule, n, m)
    weights = torch.softmax(scores.masked_fill(~visible, -1e30), dim=-1) * (1 - lost)
    weights = torch.where(visible, weights, 0.0)
    if origin == "bfloat16":
        weights = weights.to(torch.bfloat16)
    kept = weights.to(torch.float64 if origin == "float64" else torch.float32)
    special = torch.from_numpy(generator.random(m) < 0.3)
    return Map(kept, visible, special)


RULES: dict[Kind, list[str]] = {
    "encoder": ["all", "blind"],
    "decoder": ["causal", "sliding", "chunked", "blind"],
    "cross": ["all"],
}


@st.composite
def batches(draw: st.DrawFn) -> tuple[Kind, list[Map]]:
    """Draw a kind and the maps of one to three texts with the same heads."""
    kind: Kind = draw(st.sampled_from(["encoder", "decoder", "cross"]))
    heads = draw(st.integers(1, 3))
    origin = draw(st.sampled_from(["float32", "float64", "bfloat16"]))
    maps = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(1, 14))
        m = draw(st.integers(1, 14)) if kind == "cross" else n
        rule = draw(st.sampled_from(RULES[kind]))
        lost = draw(st.sampled_from([0.0, 0.4]))
        maps.append(random_map(draw(st.integers(0, 10**6)), heads, n, m, rule, origin, lost))
    return kind, maps
