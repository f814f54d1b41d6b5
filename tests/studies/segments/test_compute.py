"""Attention between segments is the sum over pairs of tokens, for any cut of the stream into blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, batches, block, by_hand, causal, inputs, of_keys, part, random_map
from naive_segments import naive_mass

from attncli.data import Kind, Partition, Rows
from attncli.inputs.partitions import Sides
from attncli.studies.segments.compute import SegmentsSink
from attncli.studies.segments.result import Segments

NAMES = ("a", "b", "special")


def partition(names: list[str]) -> Partition:
    order = tuple(dict.fromkeys(names))
    return Partition(order, np.array([order.index(name) for name in names]))


def mass_by_pair(table: dict[str, np.ndarray], **where: object) -> dict[tuple[str, str], tuple[float, float]]:
    """Return mass and uniform mass by pair of segments, for the rows with these values."""
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    named = [dict(zip(table, row, strict=True)) for row in rows]
    return {
        (row["from"], row["to"]): (row["mass"], row["uniform_mass"])
        for row in named
        if all(row[name] == value for name, value in where.items())
    }


def sums(maps: list[Map], rows: list[Rows], sides: list[Sides], kind: Kind = "encoder", **combine: bool) -> Segments:
    heads = tuple(range(maps[0].weights.shape[0]))
    sides_of_text = {(text, kind): side for text, side in enumerate(sides)}
    sink = SegmentsSink(inputs(maps), sides_of_text, {(kind, 0): heads}, **combine)
    for rows_block in rows:
        sink.add(rows_block)
    sink.end_layer(kind, 0)
    return sink.result()


@given(batches(), st.data())
def test_sums_equal_loops_over_all_pairs_for_any_cut(batch: tuple[Kind, list[Map]], data: st.DataObject) -> None:
    kind, maps = batch
    names = [
        tuple(data.draw(st.lists(st.sampled_from(NAMES), min_size=n, max_size=n)) for n in one.weights.shape[1:])
        for one in maps
    ]
    sides = [(partition(queries), partition(keys)) for queries, keys in names]
    whole = block(maps, kind, padding=(1, 2), left=data.draw(st.booleans()))
    cut = data.draw(st.integers(1, whole.raw.shape[2]))
    order = list(range(len(whole.heads)))
    blocks = [part(whole, 0, cut, order[::-1])]
    blocks += [part(whole, cut, whole.raw.shape[2])] if cut < whole.raw.shape[2] else []
    table = sums(maps, blocks, sides, kind).table()
    expected = [of_head(one, head, names[text]) for text, one in enumerate(maps) for head in order]
    for head in order:
        by_text = expected[head :: len(order)]
        masses = mass_by_pair(table, head=head)
        assert masses.keys() == {pair for pairs in by_text for pair in pairs}
        for pair, values in masses.items():
            mean = np.mean([pairs[pair] for pairs in by_text if pair in pairs], axis=0)
            np.testing.assert_allclose(values, mean, rtol=1e-5, atol=1e-6)


def of_head(one: Map, head: int, names: Sequence[Sequence[str]]) -> dict[tuple[str, str], tuple[float, float]]:
    return naive_mass(one.weights[head].tolist(), one.visible.tolist(), *names)


@pytest.mark.parametrize("rule", ["all", "causal", "sliding", "chunked"])
def test_masses_by_position_are_those_of_loops(rule: str) -> None:
    maps = [random_map(seed, 2, n, n, rule) for seed, n in ((1, 23), (2, 17))]
    names = [[NAMES[number] for number in np.random.default_rng(n).integers(0, 3, n)] for n in (23, 17)]
    sides = [(partition(of_text), partition(of_text)) for of_text in names]
    whole = block(maps, "decoder", padding=(1, 2), left=True)
    found = sums(maps, [part(whole, 0, 11, [1, 0]), part(whole, 11, 24)], sides, "decoder")
    columns = {name: values.tolist() for name, (_, values) in found.heads["mass"].coords.items()}
    positional = found.heads["positional_mass"].values
    for head, start, end, value in zip(columns["head"], columns["from"], columns["to"], positional, strict=True):
        texts = zip(maps, names, strict=True)
        of_texts = [by_position(one.weights[head].numpy(), one.visible.numpy(), of, start, end) for one, of in texts]
        assert value == pytest.approx(np.mean(of_texts), abs=1e-6)


def by_position(weights: np.ndarray, visible: np.ndarray, names: list[str], start: str, end: str) -> float:
    """Return the mean mass from one segment to another of a head that knows only offsets, by loops in float64."""
    by_offset: dict[int, list[float]] = {}
    for i, j in np.argwhere(visible).tolist():
        by_offset.setdefault(j - i, []).append(float(weights[i, j]))
    mean = {offset: sum(values) / len(values) for offset, values in by_offset.items()}
    masses = []
    for i in [row for row, name in enumerate(names) if name == start]:
        seen = np.flatnonzero(visible[i]).tolist()
        total = sum(mean[j - i] for j in seen)
        masses.append(sum(mean[j - i] for j in seen if names[j] == end) / total)
    return float(np.mean(masses))


def test_a_causal_text_by_hand() -> None:
    one = by_hand([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.2, 0.6, 0], [0.1, 0.2, 0.3, 0.4]], causal(4))
    side = partition(["special", "a", "a", "b"])
    segments = sums([one], [block([one], "decoder")], [(side, side)], "decoder")
    table = mass_by_pair(segments.table())
    assert table["b", "a"] == pytest.approx((0.5, 0.5))
    assert table["a", "special"] == pytest.approx((0.35, (1 / 2 + 1 / 3) / 2))
    assert table["a", "b"] == (0, 0)
    ratio = dict(zip(table, segments["ratio"].values.tolist(), strict=True))
    assert ratio["b", "a"] == pytest.approx(1)
    assert np.isnan(ratio["a", "b"])


def test_blocks_may_leave_out_keys_that_no_row_sees() -> None:
    one = by_hand([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.2, 0.6]], causal(3))
    side = partition(["a", "b", "b"])
    whole = block([one], "decoder")
    cut = [of_keys(part(whole, 0, 2), slice(0, 2)), part(whole, 2, 3)]
    assert mass_by_pair(sums([one], cut, [(side, side)], "decoder").table()) == mass_by_pair(
        sums([one], [whole], [(side, side)], "decoder").table()
    )


def test_combined_heads_and_layers_are_means() -> None:
    maps = [by_hand([[0.25, 0.75], [1, 0]]), by_hand([[0.5, 0.5], [0.5, 0.5]])]
    sides = [(partition(["a", "b"]), partition(["a", "b"]))] * 2
    plain = sums(maps, [block(maps)], sides)
    assert plain["mass"].coords["texts"][1].tolist() == [2] * 4
    assert mass_by_pair(plain.table())["a", "b"] == pytest.approx((0.625, 0.5))
    assert plain.std["mass"].values[1] == pytest.approx(0.125)
    combined = sums(maps, [block(maps)], sides, mean_heads=True, mean_layers=True)
    assert mass_by_pair(combined.table(), layer="mean", head="mean")["a", "b"] == pytest.approx((0.625, 0.5))
    assert combined.std == {}


def test_texts_without_a_segment_do_not_count_for_it() -> None:
    maps = [by_hand([[0.25, 0.75], [1, 0]]), by_hand([[0.5, 0.5], [0.5, 0.5]])]
    sides = [(partition(["a", "b"]),) * 2, (partition(["a", "c"]),) * 2]
    table = sums(maps, [block(maps)], sides).table()
    texts = dict(zip(mass_by_pair(table), table["texts"].tolist(), strict=True))
    assert (texts["a", "a"], texts["a", "b"], texts["a", "c"]) == (2, 1, 1)
    assert ("b", "c") not in texts
    assert mass_by_pair(table)["a", "b"] == (0.75, 0.5)
    assert mass_by_pair(table)["a", "a"] == (0.375, 0.5)


def test_the_mean_table_names_the_head_with_the_highest_mass() -> None:
    heads = [[[1.0, 0.0], [0.5, 0.5]], [[0.25, 0.75], [0.5, 0.5]]]
    one = by_hand(heads[0])
    both = Map(weights=by_hand(heads[0]).weights.new_tensor(heads), visible=one.visible, special=one.special)
    side = partition(["a", "b"])
    table = sums([both], [block([both])], [(side, side)]).mean_table()
    row = dict(zip(table, (column.tolist()[1] for column in table.values()), strict=True))
    assert (row["from"], row["to"], row["mass"], row["ratio"]) == ("a", "b", 0.375, 0.75)
    assert (row["highest_mass"], row["highest_layer"], row["highest_head"]) == (0.75, 0, 1)
