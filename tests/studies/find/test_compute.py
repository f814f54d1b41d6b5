"""The numbers of `find` are those of loops over all pairs, for any cut of the stream into blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made_rows import Map, batches, block, by_hand, causal, feed, inputs, part
from naive_find import naive_find

from attncli.data import Kind, Partition, Rows
from attncli.data.focus import FocusMatch
from attncli.data.pair_weights import rows_that_count
from attncli.studies.find.compute import FindSink
from attncli.studies.find.pairs import Pair, PairNames, Pairs
from attncli.studies.find.result import RankedHeads
from attncli.studies.segments.compute import SegmentsSink

Ends = tuple[Sequence[int], Sequence[int]]


def found(maps: Sequence[Map], blocks: Sequence[Rows], ends: Sequence[Ends], kind: Kind = "encoder") -> RankedHeads:
    """Return the ranked heads for rows and keys of each text, given by their positions."""
    pairs = {}
    for text, (rows, keys) in enumerate(ends):
        matches = (FocusMatch("q", tuple(rows)),), (FocusMatch("k", tuple(keys)),)
        pairs[text, kind] = Pair(*matches, rows_that_count(kind, rows, keys), np.array(keys), "input")
    heads = {(kind, layer): tuple(range(maps[0].weights.shape[0])) for layer in {rows.layer for rows in blocks}}
    sink = FindSink(inputs(maps), heads, PairNames("q", "k"), Pairs(pairs, ()))
    feed(sink, blocks)
    return sink.result()


@given(batches(), st.data())
def test_numbers_equal_loops_over_all_pairs_for_any_cut(batch: tuple[Kind, list[Map]], data: st.DataObject) -> None:
    kind, maps = batch
    ends = []
    for one in maps:
        n, m = one.weights.shape[1:]
        rows, keys = (sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1))) for size in (n, m))
        ends.append((rows if kind != "decoder" else sorted({*rows, n - 1}), keys))
    whole = block(maps, kind, padding=(1, 2), left=data.draw(st.booleans()))
    cut, order = data.draw(st.integers(1, whole.raw.shape[2])), list(range(len(whole.heads)))
    blocks = [part(whole, 0, cut, order[::-1])]
    blocks += [part(whole, cut, whole.raw.shape[2])] if cut < whole.raw.shape[2] else []
    table = found(maps, blocks, ends, kind).table()
    for row, head in enumerate(table["head"].tolist()):
        naive = [
            naive_find(one.weights[head].tolist(), one.visible.tolist(), rows_that_count(kind, *pair).tolist(), pair[1])
            for one, pair in zip(maps, ends, strict=True)
        ]
        defined = [numbers for numbers in naive if numbers is not None]
        assert table["texts"][row] == len(defined)
        for name in defined[0] if defined else ():
            if name == "top_share" and len(maps) > 1:
                continue
            values = [numbers[name] for numbers in defined if not math.isnan(numbers[name])]
            expected = np.mean(values) if values and (name, kind) != ("weight_positional", "cross") else np.nan
            np.testing.assert_allclose(table[name][row], expected, rtol=2e-5, atol=2e-6, err_msg=name)
        if len(maps) > 1 and defined:
            std = np.std([numbers["weight"] for numbers in defined])
            np.testing.assert_allclose(table["weight_std"][row], std, atol=2e-6)
    assert (np.diff(table["weight"][~np.isnan(table["weight"])]) <= 0).all()


def test_a_causal_text_by_hand() -> None:
    one = by_hand([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.2, 0.6, 0], [0.1, 0.6, 0.1, 0.2]], causal(4))
    best = found([one], [block([one], "decoder")], [([3], [1])], "decoder").best
    # offsets -3 to 0: row 3 alone has -3; the means of the other rows are 0.2, (0.5 + 0.2) / 2, (1 + 0.5 + 0.6) / 3
    assert best == pytest.approx(
        {
            "weight": 0.6,
            "weight_uniform": 0.25,
            "weight_positional": 0.2 / (0.1 + 0.2 + 0.35 + 0.7),
            "rank": 1,
            "keys": 4,
            "top_weight": 0.6,
        }
        | {"kind": "decoder", "layer": 0, "head": 0, "texts": 1, "queries": 1, "top": "t1", "top_share": 1}
    )


def test_queries_before_all_keys_do_not_count() -> None:
    one = by_hand([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.2, 0.6, 0], [0.1, 0.6, 0.1, 0.2]], causal(4))
    best = found([one], [block([one], "decoder")], [([0, 2, 3], [1])], "decoder").best
    assert (best["queries"], best["weight"]) == (2, pytest.approx((0.2 + 0.6) / 2))


def test_ties_share_the_middle_rank() -> None:
    one = by_hand([[0.2] * 5, [0.3, 0.3, 0.2, 0.1, 0.1], [0.2] * 5, [0.2] * 5, [0.2] * 5])
    ranks = [
        found([one], [block([one])], [([row], [key])]).best["rank"] for row, key in ((0, 3), (1, 0), (1, 2), (1, 4))
    ]
    assert ranks == [3, 1.5, 3, 4.5]


def test_the_tokens_of_a_key_count_as_one() -> None:
    one = by_hand([[0.3, 0.25, 0.25, 0.2], *[[0.25] * 4] * 3])
    best = found([one], [block([one])], [([0], [1, 2])]).best
    assert (best["rank"], best["keys"], best["weight"], best["top"]) == (1, 3, 0.5, "t0")


def test_a_distance_that_no_other_row_has_is_learned_from_the_row_itself() -> None:
    one = by_hand([[0.4, 0.3, 0.3], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
    # offsets -2, -1, 0 of row 2: only its own 0.6, row 1's 0.1, (0.4 + 0.2) / 2
    for keys, mass in (([0], 0.6), ([1], 0.1), ([0, 1, 2], 1.0)):
        best = found([one], [block([one])], [([2], keys)]).best
        assert best["weight_positional"] == pytest.approx(mass / (0.6 + 0.1 + 0.3))


def test_the_weight_by_position_is_a_share_where_other_rows_give_more_to_these_distances() -> None:
    one = by_hand([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], causal(4))
    # rows 0 to 2 give 2/3 to the token itself and 1/2 to the one before: 7/6 before these are shares
    for keys, share in (([2, 3], 1), ([3], 4 / 7)):
        best = found([one], [block([one], "decoder")], [([3], keys)], "decoder").best
        assert best["weight_positional"] == pytest.approx(share)


@given(batches(), st.data())
def test_of_all_rows_the_weight_by_position_is_that_of_segments(
    batch: tuple[Kind, list[Map]], data: st.DataObject
) -> None:
    kind, maps = batch
    one = maps[0]
    n, m = one.weights.shape[1:]
    keys = sorted(data.draw(st.sets(st.integers(0, m - 1), min_size=1)))
    rows = rows_that_count(kind, range(n), keys).tolist()
    assume(kind != "cross" and len(rows) == n and bool(one.visible.any()))
    blocks = [block([one], kind)]
    of_segments = Partition(("rows",), np.zeros(n, np.int64)), Partition(("k", "rest"), 1 - np.isin(np.arange(m), keys))
    sink = SegmentsSink(inputs([one]), {(0, kind): of_segments}, {(kind, 0): tuple(range(len(one.weights)))})
    feed(sink, blocks)
    table = found([one], blocks, [(rows, keys)], kind).table()
    positional = sink.result()["positional_mass"]
    is_key = positional.coords["to"][1] == "k"
    order = np.argsort(table["head"])
    np.testing.assert_allclose(table["weight_positional"][order], positional.values[is_key], atol=1e-6)


def test_heads_are_ranked_over_layers_and_equal_ones_stay_in_order() -> None:
    weights = [[[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.5], [0.2, 0.8]]]
    both = Map(
        by_hand(weights[0]).weights.new_tensor(weights), by_hand(weights[0]).visible, by_hand(weights[0]).special
    )
    blocks = [block([both], layer=1), block([both], layer=0)]
    result = found([both], blocks, [([1], [0])])
    assert [*zip(result.table()["layer"], result.table()["head"], strict=True)] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert (result.row.layer, result.row.head, result.row.weights.tolist()) == (0, 0, pytest.approx([0.9, 0.1]))
    assert result.searched == 4


def test_the_drawn_row_is_the_mean_over_the_rows_that_count() -> None:
    one = by_hand([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
    row = found([one], [part(block([one]), 0, 2), part(block([one]), 2, 3)], [([1, 2], [0])]).row
    assert row.weights.tolist() == pytest.approx([0.35, 0.2, 0.45])


def test_the_winner_is_scored_on_the_text_that_did_not_choose_it() -> None:
    texts = [[[0.9, 0.1], [0.1, 0.9]], [[0.8, 0.2], [0.6, 0.4]], [[0.1, 0.9], [0.7, 0.3]]]
    maps = [
        Map(by_hand(heads).weights.new_tensor([[[0.5, 0.5], head] for head in heads]), *vars_of(by_hand(heads)))
        for heads in texts
    ]
    result = found(maps, [block(maps)], [([1], [0])] * 3)
    # head 0 gives 0.9, 0.8, 0.1, head 1 gives 0.1, 0.6, 0.7: without text 0 head 1 is first, without text 2 head 0
    assert result.leave_one_out is not None
    assert result.leave_one_out.weight == pytest.approx((0.1 + 0.8 + 0.1) / 3)
    assert (result.leave_one_out.same, result.leave_one_out.texts, result.best["head"]) == (2, 3, 0)


def vars_of(one: Map) -> tuple[object, object]:
    return one.visible, one.special
