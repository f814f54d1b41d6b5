"""The sinks `Measure` and `KeepMaps`: their results, however the stream is split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, batches, block, by_hand, causal, feed, inputs, part, random_map, with_visible

from attncli.data import Attention, Input, Kind, Rows, Selection, Statistics
from attncli.errors import UsageError
from attncli.metrics.alignment_distance import METRIC as ALIGNMENT
from attncli.metrics.confidence import METRIC as CONFIDENCE
from attncli.metrics.entropy import METRIC as ENTROPY
from attncli.metrics.previous_mass import METRIC as PREVIOUS
from attncli.metrics.received import METRIC as RECEIVED
from attncli.metrics.sink import METRIC as SINK
from attncli.stream import KeepMaps, Measure, selected
from attncli.stream.sums import Moments


def measured(rows: list[Rows], given: list[Input], per_query: bool = False) -> Statistics:
    sink = Measure([SINK, CONFIDENCE, PREVIOUS, RECEIVED, ENTROPY], per_query=per_query)
    feed(sink, rows)
    return sink.result(given)


def column(found: Statistics, name: str) -> list[object]:
    return list(found["entropy"].coords[name][1])


# --------------------------------------------------------------------------------------------- Measure


def test_heads_are_ordered_by_kind_layer_and_head() -> None:
    one = random_map(1, 2, 4, 4)
    where: list[tuple[Kind, int]] = [("cross", 1), ("decoder", 10), ("encoder", 2), ("decoder", 9)]
    sink = Measure([ENTROPY])
    for kind, layer in where:
        feed(sink, [block([one], kind, layer=layer)])
    found = sink.result(inputs([one]))
    assert column(found, "kind") == ["encoder"] * 2 + ["decoder"] * 4 + ["cross"] * 2
    assert column(found, "layer") == [2, 2, 9, 9, 10, 10, 1, 1]
    assert column(found, "head") == [0, 1] * 4


def test_means_over_some_texts_are_those_of_a_stream_of_these_texts() -> None:
    maps = [random_map(seed, 2, length, length) for seed, length in ((1, 4), (2, 6), (3, 5))]
    sink = Measure([ENTROPY, SINK], per_text=True)
    feed(sink, [block(maps)])
    for chosen in ([0], [2, 0], [0, 1, 2]):
        alone = measured([block([maps[text] for text in chosen])], inputs([maps[text] for text in chosen]))
        found = sink.means_over(chosen)
        for name in ("entropy", "sink"):
            assert found[name].values == pytest.approx(alone[name].values)
        assert column(Statistics(found), "texts") == [len(chosen)] * 2
        assert column(Statistics(found), "queries") == [sum(maps[text].weights.shape[1] for text in chosen)] * 2


def test_metrics_keep_the_requested_order() -> None:
    one = random_map(1, 1, 4, 4)
    found = measured([block([one])], inputs([one]))
    assert list(found.heads) == ["sink", "confidence", "previous_mass", "entropy"]
    assert found["confidence"].values == pytest.approx(one.weights.amax(-1).mean().item())


def test_texts_and_real_queries_are_counted() -> None:
    maps = [random_map(seed, 2, n, n) for seed, n in ((1, 3), (2, 5))]
    found = measured([block(maps, padding=(2, 1))], inputs(maps))
    assert column(found, "texts") == [2, 2]
    assert column(found, "queries") == [8, 8]


def test_only_selected_heads_are_measured() -> None:
    one = random_map(1, 4, 4, 4)
    sink = Measure([ENTROPY], heads={("encoder", 3): (3, 1)})
    feed(sink, [block([one], layer=2), block([one], layer=3)])
    found = sink.result(inputs([one]))
    assert column(found, "layer") == [3, 3]
    assert column(found, "head") == [1, 3]
    alone = Measure([ENTROPY])
    feed(alone, [block([one], layer=3)])
    assert found["entropy"].values == pytest.approx(alone.result(inputs([one]))["entropy"].values[[1, 3]])


def test_a_block_of_selected_heads_is_returned_unchanged() -> None:
    rows = block([random_map(1, 2, 4, 4)])
    assert selected(rows, {("encoder", 0): (0, 1)}) is rows
    assert selected(rows, {("encoder", 1): (0, 1)}) is None


def test_the_standard_deviation_over_texts_is_that_of_the_population() -> None:
    maps = [by_hand([[top, 1 - top]] * 2) for top in (0.5, 0.75, 1.0)]
    found = measured([block(maps)], inputs(maps))
    assert found["confidence"].values == pytest.approx(0.75)
    assert found.std["confidence"].values == pytest.approx(np.std([0.5, 0.75, 1.0]))


def test_one_text_has_no_standard_deviation() -> None:
    one = random_map(1, 1, 4, 4)
    assert measured([block([one])], inputs([one])).std == {}


def test_texts_in_which_a_metric_is_undefined_do_not_count() -> None:
    maps = [by_hand([[1.0]]), by_hand([[1.0, 0.0], [0.25, 0.75]])]
    found = measured([block(maps)], inputs(maps))
    assert found["previous_mass"].values == pytest.approx(0.25)
    assert found.std["previous_mass"].values == pytest.approx(0)


def test_a_metric_is_undefined_for_other_kinds_of_attention() -> None:
    one = random_map(1, 1, 4, 4)
    sink = Measure([ALIGNMENT, ENTROPY])
    feed(sink, [block([one], "encoder"), block([one], "cross")])
    found = sink.result(inputs([one]))
    assert list(np.isnan(found["alignment_distance"].values)) == [True, False]
    assert not np.isnan(found["entropy"].values).any()


def test_per_query_gives_a_row_per_token_and_a_value_per_key() -> None:
    maps = [random_map(1, 2, 2, 3), random_map(2, 2, 1, 2)]
    found = measured([block(maps, "cross", padding=(1, 1), left=True)], inputs(maps), per_query=True)
    rows, keys = found.tokens["entropy"].coords, found.keys["received"].coords
    assert list(rows["text"][1]) == [0, 0, 0, 0, 1, 1]
    assert list(rows["head"][1]) == [0, 0, 1, 1, 0, 1]
    assert list(rows["query"][1]) == [0, 1, 0, 1, 0, 0]
    assert list(rows["token"][1]) == ["t0", "t1", "t0", "t1", "t0", "t0"]
    assert list(keys["key"][1]) == [0, 1, 2, 0, 1, 2, 0, 1, 0, 1]
    assert set(found.tokens) == {"confidence", "previous_mass", "entropy"}
    assert set(found.keys) == {"received"}
    assert found.tokens["confidence"].values[:2] == pytest.approx(maps[0].weights[0].amax(-1).numpy())


def test_blocks_of_a_device_without_float64_are_measured_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, moved = block([random_map(1, 2, 5, 5)]), set()
    to_host = torch.Tensor.cpu

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        moved.add(id(tensor))
        return to_host(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", noted)
    monkeypatch.setattr("attncli.stream.protocol.WITHOUT_FLOAT64", {"cpu"})
    Measure([ENTROPY]).add(rows)
    tensors = (
        rows.weights,
        rows.visibility.visible,
        rows.query_positions,
        rows.key_positions,
        rows.visibility.special_keys,
    )
    assert moved == set(map(id, tensors))


def test_values_per_token_are_kept_only_on_request() -> None:
    one = random_map(1, 1, 4, 4)
    found = measured([block([one])], inputs([one]))
    assert found.tokens == found.keys == {}


def test_a_stream_without_rows_has_an_empty_result() -> None:
    found = Measure([ENTROPY], per_query=True).result([])
    assert found["entropy"].values.shape == (0,)


@given(batches(), st.data())
def test_order_and_batching_of_texts_do_not_matter(batch: tuple[Kind, list[Map]], data: st.DataObject) -> None:
    kind, maps = batch
    maps = [replace(one, weights=one.weights.double()) for one in maps * 3]
    order = data.draw(st.permutations(range(len(maps))))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=len(maps), max_size=len(maps)))
    one_by_one, grouped = Measure([SINK, ENTROPY]), Measure([SINK, ENTROPY])
    for text, one in enumerate(maps):
        feed(one_by_one, [block([one], kind, texts=[text])])
    while order:
        some, order = order[: sizes[0]], order[sizes.pop(0) :]
        feed(grouped, [block([maps[at] for at in some], kind, texts=some)])
    expected, found = one_by_one.result(inputs(maps)), grouped.result(inputs(maps))
    for name in ("sink", "entropy"):
        np.testing.assert_allclose(found[name].values, expected[name].values, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.std[name].values, expected.std[name].values, rtol=1e-12, atol=1e-7)


@given(st.lists(st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=3, max_size=3), min_size=1), st.data())
def test_moments_are_those_of_all_values_at_once(values: list[list[float]], data: st.DataObject) -> None:
    """The error is at most 1e-12 of the largest possible value, and of its square."""
    table = np.array(values)
    moments, rest = Moments((3,)), table[data.draw(st.permutations(range(len(table))))]
    while len(rest):
        size = data.draw(st.integers(1, len(rest)))
        moments.add(rest[:size])
        rest = rest[size:]
    for at in range(3):
        defined = table[:, at][~np.isnan(table[:, at])]
        expected = (defined.mean(), defined.var()) if len(defined) else (np.nan, np.nan)
        found = (moments.mean[at], moments.std[at] ** 2)
        np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-12 * 1e3)
        np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-12 * 1e6)


# ------------------------------------------------------------------------------------------------ Keep


def kept(rows: list[Rows], given: list[Input], heads: Selection | None = None, **options: str) -> tuple[Attention, ...]:
    sink = KeepMaps(heads, **options)  # type: ignore[arg-type]
    feed(sink, rows)
    return sink.result(given)


@given(batches(), st.booleans(), st.data())
def test_maps_are_kept_unchanged_however_the_stream_is_split(
    batch: tuple[Kind, list[Map]], left: bool, data: st.DataObject
) -> None:
    kind, maps = batch
    rows = block(maps, kind, padding=(1, 2), left=left)
    count, heads = rows.weights.shape[2], range(len(rows.heads))
    cut, split = data.draw(st.integers(1, count - 1)), data.draw(st.integers(0, len(heads)))
    blocks = [
        part(rows, first, last, some)
        for first, last in ((0, cut), (cut, count))
        for some in (heads[split:], heads[:split])
        if some
    ]
    found = kept(blocks, inputs(maps))
    assert [one.text for one in found] == list(range(len(maps)))
    for attention, one in zip(found, maps, strict=True):
        [layer] = attention.layers
        sees = one.visible.any(-1).numpy()
        assert layer.heads == tuple(heads)
        np.testing.assert_array_equal(layer.weights[:, sees], one.weights.float().numpy()[:, sees])
        assert np.isnan(layer.weights[:, ~sees]).all()
        if one.visible.all():
            assert layer.visible is None
        else:
            np.testing.assert_array_equal(layer.visible, one.visible[None])


def test_kept_maps_are_float32_and_read_only() -> None:
    one = random_map(1, 1, 3, 3, origin="float64")
    [attention] = kept([block([one])], inputs([one]))
    assert attention.values.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        attention.values[0, 0] = 1


def test_selected_heads_keep_their_numbers() -> None:
    one = random_map(1, 4, 3, 3)
    [attention] = kept([block([one], layer=at) for at in range(3)], inputs([one]), {("encoder", 2): (1, 3)})
    [layer] = attention.layers
    assert (layer.layer, layer.heads) == (2, (1, 3))
    np.testing.assert_array_equal(layer.weights, one.weights[[1, 3]])


def test_texts_kinds_and_layers_are_ordered() -> None:
    one = random_map(1, 1, 3, 3)
    rows = [
        block([one], kind, layer=layer, texts=[text])
        for text in (1, 0)
        for kind, layer in (("cross", 0), ("decoder", 1), ("decoder", 0))
    ]
    found = kept(rows, inputs([one, one]))
    assert [(each.text, each.kind) for each in found] == [
        *((0, "decoder"), (0, "cross")),
        *((1, "decoder"), (1, "cross")),
    ]
    assert [maps.layer for maps in found[0].layers] == [0, 1]


def test_queries_and_keys_are_those_of_the_kind() -> None:
    one = random_map(1, 1, 2, 4)
    [attention] = kept([block([one], "cross")], inputs([one]))
    assert (len(attention.queries), len(attention.keys)) == (2, 4)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_heads_are_combined_into_one_map_while_they_stream(aggregate: str) -> None:
    one = random_map(1, 4, 5, 5, "causal")
    rows = block([one], "decoder")
    blocks = [part(rows, 0, 2, [0, 1]), part(rows, 0, 2, [2, 3]), part(rows, 2, 5)]
    [attention] = kept(blocks, inputs([one]), aggregate=aggregate)
    [layer] = attention.layers
    expected = one.weights.numpy().mean(0) if aggregate == "mean" else one.weights.numpy().max(0)
    assert layer.heads == ()
    assert attention.aggregate == aggregate
    np.testing.assert_allclose(layer.weights[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(layer.visible, one.visible[None])


@pytest.mark.parametrize("aggregate", ["none", "mean", "max"])
def test_layers_are_combined_into_their_mean(aggregate: str) -> None:
    maps = [random_map(seed, 3, 4, 4, "causal") for seed in range(3)]
    rows = [block([one], "decoder", layer=at) for at, one in enumerate(maps)]
    [attention] = kept(rows, inputs(maps[:1]), aggregate=aggregate, aggregate_layers="mean")
    [layer] = attention.layers
    stacked = np.stack([one.weights.numpy() for one in maps])
    combine = {"none": stacked, "mean": stacked.mean(1, keepdims=True), "max": stacked.max(1, keepdims=True)}
    assert (layer.layer, attention.aggregate_layers) == ("mean", "mean")
    assert layer.heads == ((0, 1, 2) if aggregate == "none" else ())
    np.testing.assert_allclose(layer.weights, combine[aggregate].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(layer.visible, maps[0].visible[None])


def test_the_mean_over_layers_needs_the_same_heads() -> None:
    one = random_map(1, 3, 4, 4)
    rows = [block([one], layer=0), block([one], layer=1)]
    heads: Selection = {("encoder", 0): (0, 1), ("encoder", 1): (0, 2)}
    with pytest.raises(UsageError, match="same heads in every layer, got 0, 2 in layer 1 after 0, 1"):
        kept(rows, inputs([one]), heads, aggregate_layers="mean")


def masked_row_in_one_head() -> Rows:
    """Return two heads of two rows; row 1 of head 0 sees no key."""
    sees = torch.tensor([[[True, True], [False, False]], [[True, True], [True, True]]])[None]
    weights = torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[0.25, 0.75], [0.25, 0.75]]])[None]
    return replace(with_visible(block([by_hand([[0.5, 0.5]] * 2)]), sees), heads=(0, 1), raw=weights)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_rows_that_see_no_key_do_not_count_in_combined_heads(aggregate: str) -> None:
    [attention] = kept([masked_row_in_one_head()], inputs([by_hand([[1.0, 0.0]] * 2)]), aggregate=aggregate)
    np.testing.assert_allclose(attention.values[1], [0.25, 0.75])


def test_rows_that_see_no_key_do_not_count_in_the_mean_over_layers() -> None:
    rows = [replace(masked_row_in_one_head(), layer=0), replace(block([by_hand([[0.5, 0.5]] * 2)]), layer=1)]
    both = replace(rows[1], heads=(0, 1), raw=rows[1].weights.expand(1, 2, 2, 2))
    [attention] = kept([rows[0], both], inputs([by_hand([[1.0, 0.0]] * 2)]), aggregate_layers="mean")
    np.testing.assert_allclose(attention.layers[0].weights[:, 1], [[0.5, 0.5], [0.375, 0.625]])


def test_heads_with_different_masks_keep_them() -> None:
    [attention] = kept([masked_row_in_one_head()], inputs([by_hand([[1.0, 0.0]] * 2)]))
    [layer] = attention.layers
    assert layer.visible is not None
    assert layer.visible[:, 1].tolist() == [[False, False], [True, True]]


def test_keys_visible_to_any_head_are_visible_in_the_combined_map() -> None:
    rows = masked_row_in_one_head()
    heads = [
        with_visible(replace(rows, heads=(at,), raw=rows.weights[:, [at]]), rows.visibility.visible[:, [at]])
        for at in (1, 0)
    ]
    [attention] = kept(heads, inputs([by_hand([[1.0, 0.0]] * 2)]), aggregate="mean")
    assert attention.layers[0].visible is None


def test_layers_with_equal_masks_share_one_array() -> None:
    near, wide = random_map(1, 1, 6, 6, "sliding"), random_map(2, 1, 6, 6, "causal")
    rows = [block([one], "decoder", layer=at) for at, one in enumerate([near, wide, near, wide])]
    [attention] = kept(rows, inputs([near]))
    masks = [layer.visible for layer in attention.layers]
    assert masks[0] is masks[2]
    assert masks[1] is masks[3]
    assert masks[0] is not masks[1]


def test_a_causal_mask_is_kept() -> None:
    one = by_hand([[1.0, 0.0], [0.5, 0.5]], causal(2))
    [attention] = kept([block([one], "decoder")], inputs([one]))
    assert attention.layers[0].visible is not None
    assert attention.layers[0].visible.tolist() == [causal(2)]
