"""Attention within segments: against loops, and where it is undefined."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, block, by_hand, inputs, part, random_map

from attncli.data import Input, Kind, Rows
from attncli.stream.segment_mass import SegmentMass


def named(maps: list[Map], segments: list[tuple[str, ...]]) -> list[Input]:
    """Return inputs whose tokens have these segments."""
    return [
        Input(one.index, one.text, replace(one.source, segments=names))
        for one, names in zip(inputs(maps), segments, strict=True)
    ]


def masses(rows: list[Rows], texts: list[Input]) -> dict[tuple[Kind, int, int], tuple[float, float]]:
    sink = SegmentMass(texts)
    for each in rows:
        sink.add(each)
    sink.end_layer(rows[0].kind, rows[0].layer)
    return dict(sink.result())


def naive(one: Map, names: tuple[str, ...], head: int) -> float:
    found = []
    for i, row in enumerate(one.weights[head].double().tolist()):
        if names[i]:
            found.append(sum(weight for j, weight in enumerate(row) if names[j] == names[i]))
    return sum(found) / len(found)


@given(st.data(), st.integers(1, 7), st.integers(0, 2), st.sampled_from(["all", "causal"]))
def test_masses_are_those_of_loops_however_the_stream_is_split(
    data: st.DataObject, cut: int, padding: int, rule: str
) -> None:
    lengths = data.draw(st.lists(st.integers(2, 9), min_size=1, max_size=3))
    maps = [random_map(at, 2, n, n, rule) for at, n in enumerate(lengths)]
    rest = [data.draw(st.tuples(*[st.sampled_from(["a", "b", "c", ""])] * (n - 2))) for n in lengths]
    segments = [("a", "b", *names) for names in rest]
    whole = block(maps, "decoder", padding=(padding, padding))
    n = whole.weights.shape[2]
    found = masses([part(whole, at, min(at + cut, n)) for at in range(0, n, cut)], named(maps, segments))
    for head in range(2):
        each = [naive(one, names, head) for one, names in zip(maps, segments, strict=True)]
        mean = sum(each) / len(each)
        spread = (sum((value - mean) ** 2 for value in each) / len(each)) ** 0.5
        assert found["decoder", 0, head] == pytest.approx((mean, spread), abs=1e-6)


def test_a_block_head_has_mass_1_and_special_tokens_do_not_count() -> None:
    rows = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    one = by_hand(rows)
    found = masses([block([one])], named([one], [("", "a", "b", "b")]))
    assert found["encoder", 0, 0] == (1.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "names"), [("encoder", ("a", "a", "")), ("encoder", ("", "", "")), ("cross", ("a", "b", "b"))]
)
def test_undefined_without_two_segments_and_in_cross_attention(kind: Kind, names: tuple[str, ...]) -> None:
    one = random_map(0, 1, 3, 3)
    made = named([one], [names])
    made = [replace(each, target=each.source) for each in made] if kind == "cross" else made
    sink = SegmentMass(made)
    sink.add(block([one], kind))
    sink.end_layer(kind, 0)
    assert dict(sink.result()) == {}
