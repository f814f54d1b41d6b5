"""What holds for every metric. Metrics are found by their files; each one's test file declares its `CASE`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import naive_metrics as naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_rows import Map, batches, block, by_hand, causal, inputs, part, random_map, with_visible
from naive_metrics import TOKENS

from attncli import registry
from attncli.data import Kind, Metric, Rows, Scores, Statistics
from attncli.metrics._shared import chunked_sum, raw_log_sum
from attncli.stream import Measure
from attncli.vocabulary import POSITION_METRICS

METRICS: dict[str, Metric] = {name: module.METRIC for name, module in registry.modules("metrics").items()}
HEAD_METRICS = [name for name, metric in METRICS.items() if not metric.per_key]
KEY_METRICS = [name for name, metric in METRICS.items() if metric.per_key]
FEWER = settings(max_examples=20)
"""For laws of measuring all metrics twice, which takes most of the time of these tests."""
ROW_METRICS = [metric for metric in METRICS.values() if metric.scope == "row"]


def test_the_vocabulary_names_the_metrics_that_are_categories() -> None:
    assert {name for name, metric in METRICS.items() if metric.category} == set(POSITION_METRICS)


def measured(maps: list[Map], kind: Kind, blocks: Sequence[Rows]) -> Statistics:
    sink = Measure(list(METRICS.values()), per_query=True)
    for rows in blocks:
        sink.add(rows)
    sink.end_layer(kind, blocks[0].layer)
    return sink.result(inputs(maps))


def assert_same(first: Statistics, second: Statistics, rtol: float = 1e-6) -> None:
    for name in METRICS:
        for table in ("heads", "std", "tokens", "keys"):
            expected = getattr(first, table).get(name)
            if expected is not None:
                values = getattr(second, table)[name].values
                np.testing.assert_allclose(expected.values, values, rtol, 1e-7, err_msg=name)


# ---------------------------------------------------------------------------------------- declarations


def test_every_metric_has_a_test_file_and_every_test_file_a_metric() -> None:
    files = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert files - {"contract"} == set(METRICS)
    assert METRICS


@pytest.mark.parametrize("name", METRICS)
def test_file_function_and_declaration_have_one_name(name: str) -> None:
    assert METRICS[name].name == METRICS[name].compute.__name__ == name


@pytest.mark.parametrize("name", METRICS)
def test_every_page_is_complete(name: str) -> None:
    metric = METRICS[name]
    assert metric.question.endswith("?")
    heads = [line.split()[0] for line in metric.page.splitlines() if line and not line.startswith(" ")]
    assert heads[1:7] == ["Formula", "Axes", "Unit", "Undefined", "Caveat", "Source"], heads
    example = metric.page.split("\n\n")[-1]
    assert any(sign.isdigit() for sign in example), "the page ends with a number that can be checked by hand"
    assert metric.unit in metric.page
    assert metric.source


@pytest.mark.parametrize("name", METRICS)
def test_kinds_are_the_expected_ones(name: str) -> None:
    assert METRICS[name].kinds == naive.case(name).kinds


# ----------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("form", ["uniform", "last_key"])
def test_uniform_rows_and_rows_on_one_key_have_their_closed_forms(name: str, form: str) -> None:
    metric, case = METRICS[name], naive.case(name)
    row = [1 / TOKENS] * TOKENS if form == "uniform" else [0.0] * (TOKENS - 1) + [1.0]
    text = by_hand([row] * TOKENS, special=[0, TOKENS - 1])
    kind = metric.kinds[0]
    rows = block([text], kind)
    if metric.scope == "row":
        values = metric.compute(rows)[0, 0].numpy()
    else:
        statistics = measured([text], kind, [rows])
        values = (statistics.keys if metric.per_key else statistics.heads)[name].values
    np.testing.assert_allclose(values, getattr(case, form), rtol=1e-6, atol=1e-7)


# ----------------------------------------------------------------------------- the independent reference


def expected(name: str, text: Map, head: int) -> list[float]:
    """Return the values of a metric for one head by its reference: of every row, of every key, or of the head."""
    weights = text.weights[head].double().tolist()
    values = naive.case(name).reference(weights, text.visible.tolist(), text.special.tolist())
    return [math.nan if value is None else value for value in (values if isinstance(values, list) else [values])]


def expected_head(name: str, kind: Kind, text: Map, head: int) -> float:
    values = expected(name, text, head) if kind in naive.case(name).kinds else []
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


@given(batches(), st.booleans(), st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_row_metrics_agree_with_naive_loops(
    batch: tuple[Kind, list[Map]], left: bool, padding: tuple[int, int]
) -> None:
    kind, maps = batch
    rows = block(maps, kind, padding=padding, left=left)
    for metric in ROW_METRICS:
        if kind not in metric.kinds:
            continue
        values = metric.compute(rows)
        assert values.shape == rows.weights.shape[:3]
        assert values.dtype == torch.float64
        for entry, text in enumerate(maps):
            real = rows.query_positions[entry] >= 0
            assert values[entry][:, ~real].isnan().all()
            for head in range(text.weights.shape[0]):
                np.testing.assert_allclose(
                    values[entry, head, real],
                    expected(metric.name, text, head),
                    rtol=1e-6,
                    atol=1e-7,
                    err_msg=metric.name,
                )


@given(batches(), st.booleans())
def test_the_sink_agrees_with_naive_loops(batch: tuple[Kind, list[Map]], left: bool) -> None:
    kind, maps = batch
    statistics = measured(maps, kind, [block(maps, kind, left=left)])
    heads = range(maps[0].weights.shape[0])
    for head in heads:
        for name in HEAD_METRICS:
            values = [expected_head(name, kind, text, head) for text in maps]
            defined = [value for value in values if not math.isnan(value)]
            if METRICS[name].category:
                mode = min(set(defined), key=lambda value: (-defined.count(value), abs(value), value), default=math.nan)
                assert statistics[name].values[head] == pytest.approx(mode, nan_ok=True), name
                if len(maps) > 1:
                    share = defined.count(mode) / len(defined) if defined else math.nan
                    assert statistics.share[name].values[head] == pytest.approx(share, nan_ok=True), name
                continue
            mean = np.mean(defined) if defined else math.nan
            np.testing.assert_allclose(statistics[name].values[head], mean, rtol=1e-6, atol=1e-7, err_msg=name)
            if len(maps) > 1:
                std = np.std(defined) if defined else math.nan
                np.testing.assert_allclose(statistics.std[name].values[head], std, rtol=1e-5, atol=1e-6, err_msg=name)
    for name in KEY_METRICS:
        by_key = np.concatenate([expected(name, text, head) for text in maps for head in heads])
        np.testing.assert_allclose(statistics.keys[name].values, by_key, rtol=1e-6, atol=1e-7, err_msg=name)


def test_long_rows_keep_their_accuracy() -> None:
    n = 1500
    text = random_map(7, 1, n, n, "causal")
    statistics = measured([text], "decoder", [block([text], "decoder")])
    weights = text.weights.double().numpy()[0]
    distance = np.abs(np.arange(n)[:, None] - np.arange(n))
    rows = {
        "entropy": -np.where(weights > 0, weights * np.log(np.where(weights > 0, weights, 1)), 0).sum(1),
        "distance": (weights * distance).sum(1) / weights.sum(1),
        "missing_mass": 1 - weights.sum(1),
        "special_mass": weights[:, text.special.numpy()].sum(1),
    }
    for name, values in rows.items():
        np.testing.assert_allclose(statistics.tokens[name].values, values, rtol=5e-7, atol=2e-7, err_msg=name)
    received = weights.sum(0) / text.visible.numpy().sum(0)
    np.testing.assert_allclose(statistics.keys["received"].values, received, rtol=5e-7)


@pytest.mark.parametrize("keys", [1, 127, 128, 129, 4000])
def test_sums_are_those_of_float64(keys: int) -> None:
    terms = torch.rand((3, keys), generator=torch.Generator().manual_seed(keys))
    np.testing.assert_allclose(chunked_sum(terms), terms.double().sum(-1), rtol=2e-7)
    assert chunked_sum(terms).dtype == torch.float64


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (1, 3, 1), (2, 3, 5), (1, 1, 11), (1, 1, 127), (2, 4, 128)])
def test_sums_of_logarithms_do_not_depend_on_the_number_of_rows(shape: tuple[int, int, int]) -> None:
    scores = -torch.rand(*shape, 300, generator=torch.Generator().manual_seed(0))
    rows = block([random_map(0, 1, 1, 300)], "encoder")
    values = raw_log_sum(replace(rows, raw=scores.exp(), scores=scores))
    assert values.shape == shape
    np.testing.assert_allclose(values, (scores.double().exp() * scores.double()).sum(-1), rtol=2e-6)


# ----------------------------------------------------------------------------------------------- laws


@FEWER
@given(batches(), st.booleans(), st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_padding_does_not_matter(batch: tuple[Kind, list[Map]], left: bool, padding: tuple[int, int]) -> None:
    kind, maps = batch
    alone = measured(maps, kind, [block([text], kind, texts=[index]) for index, text in enumerate(maps)])
    padded = measured(maps, kind, [block(maps, kind, padding=padding, left=left)])
    assert_same(alone, padded)


@FEWER
@given(batches(), st.booleans(), st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_rows_may_be_given_up_to_a_factor(batch: tuple[Kind, list[Map]], left: bool, padding: tuple[int, int]) -> None:
    kind, maps = batch
    rows = block(maps, kind, padding=padding, left=left)
    weights = replace(rows, raw=rows.raw.double())
    scale = weights.raw.amax(-1)
    scale = torch.where(scale > 0, scale, 1)
    raw = weights.raw / scale[..., None]
    factored = replace(weights, raw=raw, scale=scale, scores=raw.clamp_min(1e-30).log())
    assert_same(measured(maps, kind, [weights]), measured(maps, kind, [factored]))


@FEWER
@given(batches(), st.randoms(use_true_random=False))
def test_head_order_does_not_matter(batch: tuple[Kind, list[Map]], random: object) -> None:
    kind, maps = batch
    rows = block(maps, kind)
    order = list(range(len(rows.heads)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert_same(measured(maps, kind, [rows]), measured(maps, kind, [part(rows, 0, rows.weights.shape[2], order)]))


@FEWER
@given(batches(), st.data())
def test_blocks_of_any_size_and_any_heads_give_the_same(batch: tuple[Kind, list[Map]], data: st.DataObject) -> None:
    kind, maps = batch
    rows = block(maps, kind, left=data.draw(st.booleans()))
    heads, count = range(len(rows.heads)), rows.weights.shape[2]
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, count - 1)), max_size=4)) | {0, count})
    blocks = []
    for first, last in pairwise(cuts):
        split = data.draw(st.integers(0, len(rows.heads)))
        blocks += [part(rows, first, last, group) for group in (heads[:split], heads[split:]) if group]
    blocks = data.draw(st.permutations(blocks))
    assert_same(measured(maps, kind, [rows]), measured(maps, kind, blocks))


@FEWER
@given(batches())
def test_a_block_is_not_changed(batch: tuple[Kind, list[Map]]) -> None:
    kind, maps = batch
    rows = block(maps, kind)
    fields = ("visible", "query_positions", "key_positions", "special_keys")
    tensors = {"weights": rows.weights, **{name: getattr(rows.visibility, name) for name in fields}}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    measured(maps, kind, [rows])
    for name, tensor in tensors.items():
        assert torch.equal(tensor, before[name]), name


@FEWER
@given(batches())
def test_values_are_in_the_declared_range(batch: tuple[Kind, list[Map]]) -> None:
    kind, maps = batch
    statistics = measured(maps, kind, [block(maps, kind)])
    tables: list[tuple[str, Scores]] = [
        *statistics.heads.items(),
        *statistics.tokens.items(),
        *statistics.keys.items(),
    ]
    for name, scores in tables:
        low, high = METRICS[name].range
        high = naive.case(name).largest or high
        values = scores.values[~np.isnan(scores.values)]
        assert low is None or (values >= low - 5e-3).all(), name
        assert high is None or (values <= high + 5e-3).all(), name


def test_a_mask_may_be_given_once_for_all_texts_heads_and_rows() -> None:
    text = random_map(3, 2, 5, 5)
    rows = block([text, text])
    broadcast = with_visible(rows, torch.ones((1, 1, 1, 1), dtype=torch.bool))
    assert_same(measured([text, text], "encoder", [rows]), measured([text, text], "encoder", [broadcast]))


def test_heads_may_have_different_masks() -> None:
    near, wide = random_map(4, 1, 9, 9, "sliding"), random_map(5, 1, 9, 9, "causal")
    rows = block([near], "decoder")
    both = replace(
        rows,
        heads=(0, 1),
        raw=torch.stack([near.weights, wide.weights], dim=1),
        visibility=replace(rows.visibility, visible=torch.stack([near.visible, wide.visible])[None]),
    )
    wide = replace(wide, special=near.special)
    statistics = measured([near], "decoder", [both])
    for head, text in enumerate((near, wide)):
        for name in HEAD_METRICS:
            value = expected_head(name, "decoder", text, 0)
            np.testing.assert_allclose(statistics[name].values[head], value, rtol=1e-6, atol=1e-7, err_msg=name)


def test_undefined_rows_are_nan_never_a_number() -> None:
    text = by_hand([[1.0]], causal(1))
    statistics = measured([text], "decoder", [block([text], "decoder")])
    undefined = {name for name, scores in statistics.heads.items() if np.isnan(scores.values).all()}
    assert undefined == {name for name in HEAD_METRICS if math.isnan(expected_head(name, "decoder", text, 0))}
    assert undefined >= {
        *("entropy_normalized", "distance_ratio", "previous_mass", "next_mass"),
        *("first_mass", "special_mass", "alignment_distance"),
    }
