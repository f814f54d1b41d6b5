"""Maps of words, maps without special tokens, and kept maps that are streamed again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, batches, block, by_hand, inputs, part, random_map

from attncli import registry
from attncli.data import Attention, Input, Kind, LayerMaps, Rows, Scheme, Text, Tokens
from attncli.data.surfaces import token_texts
from attncli.data.transforms import drop_special, removed_mass, to_words
from attncli.data.words import merged_words
from attncli.errors import UsageError
from attncli.metrics.confidence import METRIC as CONFIDENCE
from attncli.metrics.entropy import METRIC as ENTROPY
from attncli.stream import KeepMaps, Measure, Sink
from attncli.stream.merging import MergedRows
from attncli.stream.replay import replay
from attncli.stream.weights import NormRows, NormShares

ALL = [found.METRIC for found in registry.modules("metrics").values()]


def tokens(
    *pieces: str, words: list[int], spans: list[tuple[int, int]] | None = None, text: str = "", scheme: Scheme = "plain"
) -> Tokens:
    """Return tokens; pieces in [brackets] are special."""
    return Tokens(
        pieces=pieces,
        ids=np.arange(len(pieces)),
        special=np.array([piece.startswith("[") for piece in pieces]),
        offsets=np.array(spans or [(-1, -1)] * len(pieces)),
        words=np.array(words),
        segments=("",) * len(pieces),
        text=text,
        scheme=scheme,
    )


CLS_UN_HAPPY = tokens(
    *("[CLS]", "un", "##happy", "cat"),
    words=[-1, 0, 0, 1],
    spans=[(-1, -1), (0, 2), (2, 7), (8, 11)],
    text="Unhappy cat",
    scheme="wordpiece",
)
WEIGHTS = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.0, 0.0], [0.1, 0.1, 0.2, 0.6], [0.0, 0.0, 0.0, 1.0]]


def attention(side: Tokens, weights: object, visible: object = None, **more: object) -> Attention:
    made = np.array(weights, np.float32)
    made = made if made.ndim == 3 else made[None]
    layer = LayerMaps(3, tuple(range(len(made))), made, None if visible is None else np.array(visible)[None])
    return Attention("encoder", side, side, (layer,), **more)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------- words


def test_keys_are_summed_and_queries_averaged_over_the_pieces_of_a_word() -> None:
    found = to_words(attention(CLS_UN_HAPPY, WEIGHTS))
    expected = [[0.1, 0.5, 0.4], [0.3, 0.4, 0.3], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(found.values, expected, atol=1e-7)
    assert found.words
    assert found.queries.pieces == found.keys.pieces == ("[CLS]", "Unhappy", "cat")
    assert (found.layers[0].layer, found.layers[0].heads) == (3, (0,))


def test_keys_visible_to_any_piece_are_visible_to_the_word() -> None:
    sees = np.tril(np.ones((4, 4), bool))
    sees[1, 3] = True
    found = to_words(attention(CLS_UN_HAPPY, WEIGHTS, sees))
    assert found.layers[0].visible is not None
    assert found.layers[0].visible[0].tolist() == [[True, False, False], [True, True, True], [True, True, True]]


def test_pieces_of_a_word_need_not_be_neighbours() -> None:
    side = tokens("look", "it", "up", words=[0, 1, 0])
    found = to_words(attention(side, [[0.25, 0.0, 0.75], [0.25, 0.5, 0.25], [0.0, 1.0, 0.0]]))
    assert found.queries.pieces == ("lookup", "it")
    np.testing.assert_allclose(found.values, [[0.5, 0.5], [0.5, 0.5]])


def test_maps_of_words_are_not_merged_again() -> None:
    once = to_words(attention(CLS_UN_HAPPY, WEIGHTS))
    assert to_words(once) is once


def test_undefined_rows_do_not_count_in_the_mean() -> None:
    weights = np.array(WEIGHTS)
    weights[2] = np.nan
    weights[3] = np.nan
    found = to_words(attention(CLS_UN_HAPPY, weights))
    np.testing.assert_allclose(found.values[1], [0.5, 0.5, 0.0], atol=1e-7)
    assert np.isnan(found.values[2]).all()


def test_special_tokens_and_pieces_of_no_word_stay_alone() -> None:
    side = tokens("[A]", "[B]", "x", "y", words=[5, 5, -1, -1])
    assert merged_words(side).pieces == ("[A]", "[B]", "x", "y")


def test_merged_tokens_keep_ids_offsets_and_flags() -> None:
    merged = merged_words(CLS_UN_HAPPY)
    assert merged.ids.tolist() == [0, -1, 3]
    assert merged.offsets.tolist() == [[-1, -1], [0, 7], [8, 11]]
    assert merged.special.tolist() == [True, False, False]
    assert merged.words.tolist() == [-1, 0, 1]


def test_a_word_with_a_piece_without_offsets_has_no_offsets() -> None:
    side = tokens("un", "##happy", words=[0, 0], spans=[(0, 2), (-1, -1)], text="Unhappy", scheme="wordpiece")
    merged = merged_words(side)
    assert merged.offsets.tolist() == [[-1, -1]]
    assert merged.pieces == ("unhappy",)


@pytest.mark.parametrize(
    ("scheme", "pieces", "expected"),
    [
        ("wordpiece", ("un", "##happy"), "unhappy"),
        ("bytelevel", ("Ġun", "happy"), "unhappy"),
        ("bytelevel", ("Ġna", "Ã¯", "ve"), "naïve"),
        ("bytelevel", ("ĠÐº", "Ð¾", "ÑĤ"), "кот"),
        ("bytelevel", ("ĠâĢ", "¦", "âĢ"), "…⟨E2 80⟩"),
        ("bytelevel", ("Ġ",), " "),
        ("suffix", ("un", "happy</w>"), "unhappy"),
        ("bytelevel-suffix", ("ÐºÐ¾", "ÑĤ</w>"), "кот"),
        ("continued", ("un@@", "happy"), "unhappy"),
        ("bytes", ("Ã", "¯"), "ï"),
        ("metaspace", ("▁un", "happy"), "unhappy"),
        ("plain", ("un", "##happy"), "un##happy"),
    ],
)
def test_words_of_unknown_text_are_their_pieces_joined(scheme: Scheme, pieces: tuple[str, ...], expected: str) -> None:
    assert merged_words(tokens(*pieces, words=[0] * len(pieces), scheme=scheme)).pieces == (expected,)


def test_merged_words_are_plain_text_and_keep_their_exact_pieces() -> None:
    side = tokens("Ġna", "Ã¯", "ve", words=[0, 0, 0], spans=[(0, 2), (2, 3), (3, 5)], text="Naïve", scheme="bytelevel")
    merged = merged_words(side)
    assert (merged.pieces, merged.scheme) == (("Naïve",), "plain")
    assert merged.vocabulary_pieces == ("Ġna Ã¯ ve",)
    assert merged_words(merged).vocabulary_pieces == merged.take([0]).vocabulary_pieces == ("Ġna Ã¯ ve",)


def test_offsets_into_the_second_of_a_pair_are_not_read_from_the_first() -> None:
    side = tokens(
        *("[CLS]", "a", "b", "[SEP]", "see", "##n", "[SEP]"),
        words=[-1, 0, 1, -1, 2, 2, -1],
        spans=[(-1, -1), (0, 1), (2, 3), (-1, -1), (0, 3), (3, 4), (-1, -1)],
        text="A B",
        scheme="wordpiece",
    )
    assert merged_words(side).pieces == ("[CLS]", "A", "B", "[SEP]", "seen", "[SEP]")


@given(st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=6), st.data())
def test_hostile_pieces_become_words_without_loss(pieces: list[str], data: st.DataObject) -> None:
    words = sorted(data.draw(st.lists(st.integers(0, 3), min_size=len(pieces), max_size=len(pieces))))
    side = replace(tokens(*pieces, words=words), special=np.zeros(len(pieces), bool))
    assert "".join(merged_words(side).pieces) == "".join(pieces)


@given(st.integers(0, 10**6), st.lists(st.integers(-1, 4), min_size=2, max_size=9))
def test_mass_is_kept_when_pieces_become_words(seed: int, words: list[int]) -> None:
    n = len(words)
    weights = random_map(seed, 2, n, n).weights.numpy()
    found = to_words(attention(tokens(*"abcdefghi"[:n], words=words), weights))
    np.testing.assert_allclose(found.layers[0].weights.sum(-1), 1, rtol=1e-6)
    assert found.layers[0].weights.shape[1:] == (len(found.queries), len(found.keys))


# --------------------------------------------------------------------------------------- special tokens


def test_special_tokens_leave_both_axes_and_rows_sum_to_one() -> None:
    found = drop_special(attention(CLS_UN_HAPPY, WEIGHTS))
    assert found.queries.pieces == found.keys.pieces == ("un", "##happy", "cat")
    np.testing.assert_allclose(found.values, [[1, 0, 0], [1 / 9, 2 / 9, 6 / 9], [0, 0, 1]], atol=1e-7)
    assert found.dropped_special
    assert drop_special(found) is found


def test_a_row_whose_whole_mass_was_removed_is_nan() -> None:
    found = drop_special(attention(CLS_UN_HAPPY, [[1.0, 0, 0, 0]] * 3 + [[0.5, 0.5, 0, 0]]))
    assert np.isnan(found.values).all(axis=1).tolist() == [True, True, False]


def test_special_tokens_are_removed_from_masks_too() -> None:
    found = drop_special(attention(CLS_UN_HAPPY, WEIGHTS, np.tril(np.ones((4, 4), bool))))
    assert found.layers[0].visible is not None
    assert found.layers[0].visible[0].tolist() == np.tril(np.ones((3, 3), bool)).tolist()


def test_the_removed_mass_is_the_mean_over_ordinary_rows() -> None:
    assert removed_mass(attention(CLS_UN_HAPPY, WEIGHTS)) == pytest.approx((0.5 + 0.1 + 0.0) / 3)


def test_a_text_of_special_tokens_only_is_an_error() -> None:
    with pytest.raises(UsageError, match="all 2 tokens of the text are special"):
        drop_special(attention(tokens("[CLS]", "[SEP]", words=[-1, -1]), [[0.5, 0.5]] * 2))


# ---------------------------------------------------------------------------------------------- replay


@given(batches())
def test_kept_maps_have_the_measures_of_the_stream(batch: tuple[Kind, list[Map]]) -> None:
    kind, maps = batch
    maps = [replace(one, weights=one.weights.float()) for one in maps]
    texts = _with_special(inputs(maps), maps)
    direct, again, keep = Measure(ALL, per_query=True), Measure(ALL, per_query=True), KeepMaps()
    for sink in (direct, keep):
        sink.add(block(maps, kind))
        sink.end_layer(kind, 0)
    for one in keep.result(texts):
        replay(one, [again])
    expected, found = direct.result(texts), again.result(texts)
    for table, other in ((expected.heads, found.heads), (expected.tokens, found.tokens), (expected.keys, found.keys)):
        for name in table:
            np.testing.assert_allclose(other[name].values, table[name].values, rtol=1e-6, atol=1e-7, err_msg=name)


def _with_special(texts: list[Input], maps: list[Map]) -> list[Input]:
    """Return inputs whose keys have the special tokens of the maps."""
    made = []
    for one, each in zip(texts, maps, strict=True):
        special = each.special.numpy()
        target = one.target
        if target is not None and len(target) == len(special):
            target = replace(target, special=special)
        made.append(replace(one, source=replace(one.source, special=special), target=target))
    return made


def test_long_maps_are_replayed_in_blocks() -> None:
    n = 1100
    one = random_map(1, 1, n, n)
    texts = inputs([one])
    blocks: list[Rows] = []

    class Counting(Measure):
        def add(self, rows: Rows) -> None:
            blocks.append(rows)
            super().add(rows)

    sink = Counting([CONFIDENCE])
    replay(Attention("encoder", texts[0].source, texts[0].source, (LayerMaps(0, (0,), one.weights.numpy()),)), [sink])
    assert len(blocks) == 2
    expected = one.weights.amax(-1).mean().item()
    assert sink.result(texts)["confidence"].values == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("axis", ["head", "layer"])
def test_combined_maps_are_not_measured(axis: str) -> None:
    combined = attention(CLS_UN_HAPPY, WEIGHTS).mean(axis)  # type: ignore[arg-type]
    option = {"head": "--aggregate$", "layer": "--aggregate-layers$"}[axis]
    with pytest.raises(UsageError, match=f"mean over {axis}s.*{option}"):
        replay(combined, [Measure([ENTROPY])])


def test_rows_that_are_nan_are_undefined() -> None:
    weights = np.array(WEIGHTS)
    weights[1:] = np.nan
    sink = Measure([CONFIDENCE])
    replay(attention(CLS_UN_HAPPY, weights), [sink])
    found = sink.result([Input(0, Text("x"), CLS_UN_HAPPY)])
    assert found["confidence"].values == pytest.approx(0.4)


# ----------------------------------------------------------------------------------------- Transformed


def streamed(sink: Sink, weights: list[list[float]], cut: int = 2) -> None:
    made = replace(random_map(0, 1, 4, 4), weights=torch.tensor(weights, dtype=torch.float32)[None])
    rows = replace(block([made]), layer=3)
    for first, last in ((0, cut), (cut, 4)):
        sink.add(part(rows, first, last))
    sink.end_layer("encoder", 3)


@pytest.mark.parametrize(("words", "drop"), [(True, False), (False, True), (True, True)])
def test_a_merged_stream_is_the_stream_of_merged_maps(words: bool, drop: bool) -> None:
    texts = [Input(0, Text("x"), CLS_UN_HAPPY)]
    keep, measure = KeepMaps(), Measure([CONFIDENCE, ENTROPY], per_query=True)
    for sink in (keep, measure):
        front = MergedRows(sink, texts, words=words, drop=drop)
        streamed(front, WEIGHTS)
    expected = attention(CLS_UN_HAPPY, WEIGHTS)
    expected = to_words(expected) if words else expected
    expected = drop_special(expected) if drop else expected
    [found] = keep.result(front.inputs)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6, atol=1e-7)
    assert found.queries.pieces == expected.queries.pieces
    rows = measure.result(front.inputs).tokens["confidence"]
    assert list(rows.coords["piece"][1]) == list(expected.queries.vocabulary_pieces)
    assert list(rows.coords["token"][1]) == token_texts(expected.queries)
    np.testing.assert_allclose(rows.values, expected.values.max(-1), rtol=1e-6)


@given(st.integers(1, 12), st.integers(0, 3), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_words_are_passed_on_complete_however_the_stream_is_split(
    step: int, split: int, words: bool, drop: bool, seed: int
) -> None:
    pieces = tuple(f"p{n}" for n in range(12))
    special = np.array([n in (0, 7, 11) for n in range(12)])
    of = np.array([-1, 0, 0, 0, 1, 2, 2, -1, 3, 4, 4, -1])
    side = replace(Tokens.plain(pieces), special=special, words=of)
    one = replace(random_map(seed, 3, 12, 12, "blind"), special=torch.from_numpy(special))
    rows = block([one], "decoder", padding=(1, 2), left=True)
    weights = np.where(one.visible.any(-1).numpy()[:, None], one.weights.numpy(), np.nan)
    whole = Attention("decoder", side, side, (LayerMaps(0, (0, 1, 2), weights, one.visible[None].numpy()),))
    before = to_words(whole) if words else whole
    expected = drop_special(before) if drop else before

    keep = KeepMaps()
    front = MergedRows(keep, [Input(0, Text("x"), side)], words=words, drop=drop)
    for at, first in enumerate(range(0, 13, step)):
        own = split if at % 2 else 0
        for heads in (range(own), range(own, 3)):
            if heads:
                front.add(part(rows, first, min(first + step, 13), heads))
    front.end_layer("decoder", 0)
    [found] = keep.result(front.inputs)
    assert found.queries.pieces == expected.queries.pieces
    np.testing.assert_allclose(found.layers[0].weights, expected.layers[0].weights, rtol=1e-6, atol=1e-7)
    if drop:
        assert front.removed_mass == pytest.approx(removed_mass(before), rel=1e-5)


@pytest.mark.parametrize("split", [1, 4, 12])
def test_of_long_texts_evenly_spread_words_can_be_passed_on(split: int) -> None:
    of = np.array([-1, 0, 0, 0, 1, 2, 2, -1, 3, 4, 4, 5])
    side = replace(Tokens.plain([f"p{n}" for n in range(12)]), special=of < 0, words=of)
    rows = block([random_map(5, 2, 12, 12, "causal")], "decoder")
    found = []
    for most in (None, 3, 2):  # of 6 words all, all as they are no more than twice as many, and every third
        measure = Measure([CONFIDENCE, ENTROPY], per_query=True)
        front = MergedRows(measure, [Input(0, Text("x"), side)], words=True, drop=True, most=most)
        for first in range(0, 12, split):
            front.add(part(rows, first, first + split))
        front.end_layer("decoder", 0)
        table = measure.result(front.inputs).tokens
        found.append(np.array([table[name].values.reshape(2, 6) for name in ("confidence", "entropy")]))
    assert found[1] == pytest.approx(found[0], nan_ok=True)
    assert found[2][..., ::3] == pytest.approx(found[0][..., ::3])
    assert np.isnan(found[2][..., [1, 2, 4, 5]]).all()


def test_both_sides_of_an_encoder_decoder_are_merged() -> None:
    texts = [Input(0, Text("x"), CLS_UN_HAPPY, CLS_UN_HAPPY)]
    [one] = MergedRows(KeepMaps(), texts, words=True, drop=True).inputs
    assert one.target is not None
    assert one.source.pieces == one.target.pieces == ("Unhappy", "cat")


def test_the_merged_stream_reports_the_removed_mass() -> None:
    front = MergedRows(KeepMaps(), [Input(0, Text("x"), CLS_UN_HAPPY)], drop=True)
    assert math.isnan(front.removed_mass)
    streamed(front, WEIGHTS)
    assert front.removed_mass == pytest.approx(0.2)


def test_a_layer_without_rows_can_end() -> None:
    keep = KeepMaps()
    front = MergedRows(keep, [Input(0, Text("x"), CLS_UN_HAPPY)], words=True)
    front.end_layer("encoder", 0)
    assert keep.result(front.inputs) == ()


# ----------------------------------------------------------------------------------------------- norms


class Last:
    """A sink that keeps the last block."""

    rows: Rows

    def add(self, rows: Rows) -> None:
        self.rows = rows

    def end_layer(self, kind: str, layer: int) -> None:
        pass


def test_norms_are_weights_times_the_norm_of_each_key() -> None:
    rows = replace(block([by_hand([[0.5, 0.5], [0.0, 1.0]])]), norms=torch.tensor([[[4.0, 1.0]]]))
    sink = Last()
    NormRows(sink).add(rows)
    assert sink.rows.weights.tolist() == [[[[2.0, 0.5], [0.0, 1.0]]]]
    assert sink.rows.norms is None


def test_shares_sum_to_one_and_rows_of_zeros_stay_zero() -> None:
    sink = Last()
    NormShares(sink).add(block([by_hand([[3.0, 1.0], [0.0, 0.0]])]))
    assert sink.rows.weights.tolist() == [[[[0.75, 0.25], [0.0, 0.0]]]]
