"""The strongest weights of each row, from kept maps and from the stream, equal those of a naive search."""

from __future__ import annotations

import numpy as np
import pytest
from made_rows import block as block_of
from made_rows import inputs, mask, random_map

from attncli.data import Edges, LayerMaps
from attncli.page.edges import EdgeTable, EdgeTables
from attncli.stream import StrongestEdges


def naive(weights: np.ndarray, count: int) -> list[list[list[tuple[int, float]]]]:
    """Return the keys and weights of each head and row, largest first; of equal weights the first key comes first."""
    return [
        [sorted(enumerate(row.tolist()), key=lambda one: (-one[1], one[0]))[:count] for row in head] for head in weights
    ]


def read(table: EdgeTable) -> list[list[list[tuple[int, float]]]]:
    weights = (table.codes / 255) ** 2 * table.scale[..., None]
    return [
        [list(zip(keys.tolist(), values.tolist(), strict=True)) for keys, values in zip(*both, strict=True)]
        for both in zip(table.keys, weights, strict=True)
    ]


def agree(table: EdgeTable, weights: np.ndarray, count: int) -> None:
    for head, expected in zip(read(table), naive(weights, count), strict=True):
        for row, wanted in zip(head, expected, strict=True):
            strong = [(key, weight) for key, weight in wanted if weight > wanted[0][1] / 255]
            assert [key for key, _ in row[: len(strong)]] == [key for key, _ in strong]
            assert np.allclose([w for _, w in row], [w for _, w in wanted], atol=wanted[0][1] / 255 + 1e-7, rtol=0)


@pytest.mark.parametrize("count", [1, 4, 40])
def test_of_kept_maps(count: int) -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(20), (2, 300)).astype(np.float32)
    weights[:, :, 3] = weights[:, :, 7]
    table = EdgeTable.of_maps(LayerMaps(0, (0, 1), weights), count)
    assert table.per_row == min(count, 20)
    agree(table, weights, count)


def test_of_the_stream() -> None:
    made = [random_map(seed, 3, 12, 12, "causal") for seed in (1, 2)]
    tables = EdgeTables({("decoder", 5): (0, 1, 2)}, 4)
    sink = StrongestEdges(inputs(made), tables.add, top_k=4, limit=20)
    for number, one in enumerate(made):
        sink.add(block_of([one], "decoder", layer=5, texts=[number]))
    sink.end_layer("decoder", 5)
    sink.result()
    assert set(tables.tables) == {(0, "decoder", 5, "none"), (1, "decoder", 5, "none")}
    for number, one in enumerate(made):
        table, weights = tables.tables[number, "decoder", 5, "none"], one.weights.numpy()
        agree(table, weights, 4)
        assert (table.codes > 0).sum(-1).max() == 4
        assert not (table.codes[:, 0, 1:]).any()
        assert mask("causal", 12, 12).numpy()[0, table.keys[0, 0, 0]]


def test_a_row_without_visible_keys_is_undefined_and_no_edges_add_nothing() -> None:
    weights = np.full((1, 2, 3), np.nan, np.float32)
    weights[0, 1] = [0.2, 0.5, 0.3]
    table = EdgeTable.of_maps(LayerMaps("mean", (), weights), 2)
    assert np.isnan(table.scale[0, 0])
    assert not table.codes[0, 0].any()
    assert table.keys[0, 1].tolist() == [1, 2]
    tables = EdgeTables({}, 3)
    tables.add(Edges.empty(()))
    assert tables.tables == {}


@pytest.mark.parametrize(("keys", "dtype"), [(65536, np.uint16), (65537, np.uint32)])
def test_keys_use_the_smallest_integer_type(keys: int, dtype: type) -> None:
    weights = np.zeros((1, 1, keys), np.float32)
    weights[..., -1] = 1
    table = EdgeTable.of_maps(LayerMaps(0, (0,), weights), 1)
    assert table.keys.dtype == dtype
    assert table.keys.tolist() == [[[keys - 1]]]
