"""What holds for every measure, whatever it measures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import naive_metrics as naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, batches, block, by_hand, causal, inputs, part, random_map, with_visible

from attncli import registry
from attncli.data import Kind, Metric, Rows, Statistics
from attncli.metrics._shared import score_sum, total
from attncli.stream import Measure

METRICS: dict[str, Metric] = {name: found.METRIC for name, found in registry.modules("metrics").items()}
ROW = [metric for metric in METRICS.values() if metric.scope == "row"]
ALL = list(METRICS.values())

PLANNED = [
    *("entropy", "entropy_normalized", "effective_keys", "confidence", "distance", "distance_ratio", "offset"),
    *("self_mass", "previous_mass", "next_mass", "local_mass", "first_mass", "special_mass", "missing_mass"),
    *("alignment_distance", "received", "sink", "sink_position", "diagonal", "diagonal_offset"),
]


def measured(maps: list[Map], kind: Kind, rows: list[Rows]) -> Statistics:
    sink = Measure(ALL, per_query=True)
    for each in rows:
        sink.add(each)
    sink.end_layer(kind, rows[0].layer)
    return sink.result(inputs(maps))


def assert_same(one: Statistics, other: Statistics, rtol: float = 1e-6) -> None:
    for name in METRICS:
        for table, more in ((one.heads, other.heads), (one.std, other.std)):
            if name in table:
                np.testing.assert_allclose(table[name].values, more[name].values, rtol, 1e-7, err_msg=name)
        for table, more in ((one.tokens, other.tokens), (one.keys, other.keys)):
            if name in table:
                np.testing.assert_allclose(table[name].values, more[name].values, rtol, 1e-7, err_msg=name)


# ---------------------------------------------------------------------------------------- declarations


def test_every_measure_of_the_plan_is_there() -> None:
    assert sorted(PLANNED) == registry.names("metrics")


@pytest.mark.parametrize("name", PLANNED)
def test_file_function_and_declaration_bear_one_name(name: str) -> None:
    assert METRICS[name].name == METRICS[name].compute.__name__ == name


@pytest.mark.parametrize("name", PLANNED)
def test_every_page_is_complete(name: str) -> None:
    metric = METRICS[name]
    assert metric.question.endswith("?")
    heads = [line.split()[0] for line in metric.page.splitlines() if line and not line.startswith(" ")]
    assert heads[1:7] == ["Formula", "Axes", "Unit", "Undefined", "Caveat", "Source"], heads
    number = metric.page.split("\n\n")[-1]
    assert any(sign.isdigit() for sign in number), "the page ends in a number that one can check by hand"
    assert metric.unit in metric.page
    assert metric.source


# ----------------------------------------------------------------------------------------- closed forms

N = 6
EVEN: dict[str, Callable[[int], float]] = {
    "entropy": lambda i: math.log(N),
    "entropy_normalized": lambda i: 1,
    "effective_keys": lambda i: N,
    "confidence": lambda i: 1 / N,
    "distance": lambda i: [15, 11, 9, 9, 11, 15][i] / N,
    "distance_ratio": lambda i: 1,
    "offset": lambda i: 2.5 - i,
    "self_mass": lambda i: 1 / N,
    "previous_mass": lambda i: 1 / N if i > 0 else math.nan,
    "next_mass": lambda i: 1 / N if i < N - 1 else math.nan,
    "local_mass": lambda i: [3, 4, 5, 5, 4, 3][i] / N,
    "first_mass": lambda i: 1 / N,
    "special_mass": lambda i: 2 / N,
    "missing_mass": lambda i: 0,
    "alignment_distance": lambda i: [15, 11, 9, 9, 11, 15][i] / N / 5,
}
LAST: dict[str, Callable[[int], float]] = {
    "entropy": lambda i: 0,
    "entropy_normalized": lambda i: 0,
    "effective_keys": lambda i: 1,
    "confidence": lambda i: 1,
    "distance": lambda i: 5 - i,
    "distance_ratio": lambda i: (5 - i) / ([15, 11, 9, 9, 11, 15][i] / N),
    "offset": lambda i: 5 - i,
    "self_mass": lambda i: float(i == 5),
    "previous_mass": lambda i: 0 if i > 0 else math.nan,
    "next_mass": lambda i: float(i == 4) if i < N - 1 else math.nan,
    "local_mass": lambda i: float(i >= 3),
    "first_mass": lambda i: 0,
    "special_mass": lambda i: 1,
    "missing_mass": lambda i: 0,
    "alignment_distance": lambda i: (5 - i) / 5,
}
EVEN_COLUMNS = {"sink": 1 / N, "sink_position": 0, "diagonal": 1 / N, "diagonal_offset": 0}
LAST_COLUMNS = {"sink": 1, "sink_position": 5, "diagonal": 1 / 5, "diagonal_offset": 1}


@pytest.mark.parametrize("metric", ROW, ids=lambda metric: metric.name)
@pytest.mark.parametrize("form", ["even", "one key"])
def test_even_rows_and_rows_on_one_key_have_their_closed_forms(metric: Metric, form: str) -> None:
    rows = [[1 / N] * N] * N if form == "even" else [[0.0] * 5 + [1.0]] * N
    found = metric.compute(block([by_hand(rows, special=[0, 5])], metric.kinds[0]))[0, 0]
    expected = [(EVEN if form == "even" else LAST)[metric.name](i) for i in range(N)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", ["even", "one key"])
def test_even_columns_and_a_single_stripe_have_their_closed_forms(form: str) -> None:
    rows = [[1 / N] * N] * N if form == "even" else [[0.0] * 5 + [1.0]] * N
    one = by_hand(rows)
    found = measured([one], "encoder", [block([one])])
    for name, expected in (EVEN_COLUMNS if form == "even" else LAST_COLUMNS).items():
        assert found[name].values == pytest.approx([expected]), name
    received = [1 / N] * N if form == "even" else [0, 0, 0, 0, 0, 1]
    assert found.keys["received"].values == pytest.approx(received)


# ----------------------------------------------------------------------------- the independent reference


def expected_rows(name: str, one: Map, head: int) -> list[float]:
    weights = one.weights[head].double().tolist()
    found = naive.ROW[name](weights, one.visible.tolist(), one.special.tolist())
    return [math.nan if value is None else value for value in found]


@given(batches(), st.booleans(), st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_row_measures_agree_with_naive_loops(
    batch: tuple[Kind, list[Map]], left: bool, padding: tuple[int, int]
) -> None:
    kind, maps = batch
    rows = block(maps, kind, padding=padding, left=left)
    for metric in ROW:
        if kind not in metric.kinds:
            assert not naive.applies(metric.name, kind)
            continue
        assert naive.applies(metric.name, kind)
        found = metric.compute(rows)
        assert found.shape == rows.weights.shape[:3]
        assert found.dtype == torch.float64
        for entry, one in enumerate(maps):
            real = rows.query_positions[entry] >= 0
            assert found[entry][:, ~real].isnan().all()
            for head in range(one.weights.shape[0]):
                expected = expected_rows(metric.name, one, head)
                np.testing.assert_allclose(
                    found[entry, head, real], expected, rtol=1e-6, atol=1e-7, err_msg=metric.name
                )


@given(batches(), st.booleans())
def test_the_sink_agrees_with_naive_loops(batch: tuple[Kind, list[Map]], left: bool) -> None:
    kind, maps = batch
    found = measured(maps, kind, [block(maps, kind, left=left)])
    for head in range(maps[0].weights.shape[0]):
        for name in naive.ROW | naive.COLUMN:
            values = [expected_head(name, kind, one, head) for one in maps]
            defined = [value for value in values if not math.isnan(value)]
            mean = np.mean(defined) if defined else math.nan
            np.testing.assert_allclose(found[name].values[head], mean, rtol=1e-6, atol=1e-7, err_msg=name)
            if len(maps) > 1:
                std = np.std(defined) if defined else math.nan
                np.testing.assert_allclose(found.std[name].values[head], std, rtol=1e-5, atol=1e-6, err_msg=name)
    expected = [received(one, head) for one in maps for head in range(one.weights.shape[0])]
    np.testing.assert_allclose(found.keys["received"].values, np.concatenate(expected), rtol=1e-6, atol=1e-7)


def expected_head(name: str, kind: Kind, one: Map, head: int) -> float:
    weights, sees = one.weights[head].double().tolist(), one.visible.tolist()
    if not naive.applies(name, kind):
        return math.nan
    if name in naive.ROW:
        found = naive.mean(naive.ROW[name](weights, sees, one.special.tolist()))
    else:
        found = naive.COLUMN[name](weights, sees, one.special.tolist())
    return math.nan if found is None else found


def received(one: Map, head: int) -> list[float]:
    found = naive.received(one.weights[head].double().tolist(), one.visible.tolist(), one.special.tolist())
    return [math.nan if value is None else value for value in found]


def test_long_rows_keep_their_accuracy() -> None:
    n = 1500
    one = random_map(7, 1, n, n, "causal")
    found = measured([one], "decoder", [block([one], "decoder")])
    weights = one.weights.double().numpy()[0]
    apart = np.abs(np.arange(n)[:, None] - np.arange(n))
    rows = {
        "entropy": -np.where(weights > 0, weights * np.log(np.where(weights > 0, weights, 1)), 0).sum(1),
        "distance": (weights * apart).sum(1) / weights.sum(1),
        "missing_mass": 1 - weights.sum(1),
        "special_mass": weights[:, one.special.numpy()].sum(1),
    }
    for name, expected in rows.items():
        np.testing.assert_allclose(found.tokens[name].values, expected, rtol=5e-7, atol=2e-7, err_msg=name)
    expected = weights.sum(0) / one.visible.numpy().sum(0)
    np.testing.assert_allclose(found.keys["received"].values, expected, rtol=5e-7)


@pytest.mark.parametrize("keys", [1, 127, 128, 129, 4000])
def test_sums_are_those_of_float64(keys: int) -> None:
    terms = torch.rand((3, keys), generator=torch.Generator().manual_seed(keys))
    np.testing.assert_allclose(total(terms), terms.double().sum(-1), rtol=2e-7)
    assert total(terms).dtype == torch.float64


@pytest.mark.parametrize("rows", [(1, 1, 1), (1, 1, 2), (1, 3, 1), (2, 3, 5), (1, 1, 11), (1, 1, 127), (2, 4, 128)])
def test_sums_of_logarithms_do_not_depend_on_how_many_rows_come_at_once(rows: tuple[int, int, int]) -> None:
    scores = -torch.rand(*rows, 300, generator=torch.Generator().manual_seed(0))
    made = block([random_map(0, 1, 1, 300)], "encoder")
    found = score_sum(replace(made, raw=scores.exp(), scores=scores))
    assert found.shape == rows
    np.testing.assert_allclose(found, (scores.double().exp() * scores.double()).sum(-1), rtol=2e-6)


# ----------------------------------------------------------------------------------------------- laws


@given(batches(), st.booleans(), st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_padding_does_not_matter(batch: tuple[Kind, list[Map]], left: bool, padding: tuple[int, int]) -> None:
    kind, maps = batch
    alone = measured(maps, kind, [block([one], kind, texts=[at]) for at, one in enumerate(maps)])
    padded = measured(maps, kind, [block(maps, kind, padding=padding, left=left)])
    assert_same(alone, padded)


@given(batches(), st.booleans(), st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_rows_may_come_up_to_a_factor(batch: tuple[Kind, list[Map]], left: bool, padding: tuple[int, int]) -> None:
    kind, maps = batch
    made = block(maps, kind, padding=padding, left=left)
    whole = replace(made, raw=made.raw.double())
    scale = whole.raw.amax(-1)
    scale = torch.where(scale > 0, scale, 1)
    raw = whole.raw / scale[..., None]
    factored = replace(whole, raw=raw, scale=scale, scores=raw.clamp_min(1e-30).log())
    assert_same(measured(maps, kind, [whole]), measured(maps, kind, [factored]))


@given(batches(), st.randoms(use_true_random=False))
def test_head_order_does_not_matter(batch: tuple[Kind, list[Map]], random: object) -> None:
    kind, maps = batch
    rows = block(maps, kind)
    order = list(range(len(rows.heads)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert_same(measured(maps, kind, [rows]), measured(maps, kind, [part(rows, 0, rows.weights.shape[2], order)]))


@given(batches(), st.data())
def test_blocks_of_any_size_and_any_heads_give_the_whole(batch: tuple[Kind, list[Map]], data: st.DataObject) -> None:
    kind, maps = batch
    rows = block(maps, kind, left=data.draw(st.booleans()))
    heads, count = range(len(rows.heads)), rows.weights.shape[2]
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, count - 1)), max_size=4)) | {0, count})
    blocks = []
    for first, last in pairwise(cuts):
        split = data.draw(st.integers(0, len(rows.heads)))
        blocks += [part(rows, first, last, some) for some in (heads[:split], heads[split:]) if some]
    blocks = data.draw(st.permutations(blocks))
    assert_same(measured(maps, kind, [rows]), measured(maps, kind, list(blocks)))


@given(batches())
def test_a_block_is_left_as_it_was(batch: tuple[Kind, list[Map]]) -> None:
    kind, maps = batch
    rows = block(maps, kind)
    fields = ("weights", "visible", "query_positions", "key_positions", "special_keys")
    before = {name: getattr(rows, name).clone() for name in fields}
    measured(maps, kind, [rows])
    for name in fields:
        assert torch.equal(getattr(rows, name), before[name]), name


@given(batches())
def test_values_stay_in_the_declared_range(batch: tuple[Kind, list[Map]]) -> None:
    kind, maps = batch
    found = measured(maps, kind, [block(maps, kind)])
    for table in (found.heads, found.tokens, found.keys):
        for name, scores in table.items():
            low, high = METRICS[name].range
            if name == "entropy_normalized":
                high = 1.062  # two keys of a row that a learned sink took some of, as its page says
            values = scores.values[~np.isnan(scores.values)]
            assert low is None or (values >= low - 5e-3).all(), name
            assert high is None or (values <= high + 5e-3).all(), name


def test_a_mask_may_be_given_once_for_all_texts_heads_and_rows() -> None:
    one = random_map(3, 2, 5, 5)
    rows = block([one, one])
    broad = with_visible(rows, torch.ones((1, 1, 1, 1), dtype=torch.bool))
    assert_same(measured([one, one], "encoder", [rows]), measured([one, one], "encoder", [broad]))


def test_heads_may_see_different_keys() -> None:
    near, wide = random_map(4, 1, 9, 9, "sliding"), random_map(5, 1, 9, 9, "causal")
    rows = block([near], "decoder")
    both = replace(
        rows,
        heads=(0, 1),
        raw=torch.stack([near.weights, wide.weights], dim=1),
        visibility=replace(rows.visibility, visible=torch.stack([near.visible, wide.visible])[None]),
    )
    wide = replace(wide, special=near.special)
    found = measured([near], "decoder", [both])
    for head, one in enumerate((near, wide)):
        for name in naive.ROW | naive.COLUMN:
            expected = expected_head(name, "decoder", one, 0)
            np.testing.assert_allclose(found[name].values[head], expected, rtol=1e-6, atol=1e-7, err_msg=name)


def test_undefined_rows_are_nan_never_a_number() -> None:
    one = by_hand([[1.0]], causal(1))
    found = measured([one], "decoder", [block([one], "decoder")])
    undefined = {name for name, scores in found.heads.items() if np.isnan(scores.values).all()}
    assert undefined == {
        *("entropy_normalized", "distance_ratio", "previous_mass", "next_mass"),
        *("first_mass", "special_mass", "alignment_distance"),
    }
