"""The retrieval score: worked out by hand, by loops over all pairs, and for any cut of the stream into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, block, by_hand, causal, feed, mask, part, random_map

from attncli.data import Input, Kind, Partition, Rows, Text, Tokens
from attncli.stream.retrieval import Retrieval, RetrievalScore

TEXT = ("a", "x", "b", "y", "x", "y")
"""doc: a x, other: b y, written: x y."""
PASSAGES = Partition(("doc", "other", "written"), np.array([0, 0, 1, 1, 2, 2]))


def text(pieces: tuple[str, ...], index: int = 0) -> Input:
    return Input(index, Text("made"), Tokens.plain(pieces))


def score(maps: Map, pieces: tuple[str, ...] = TEXT) -> dict[str, Retrieval]:
    sink = RetrievalScore([text(pieces)], {(0, "decoder"): np.array([4, 5])}, {(0, "decoder"): PASSAGES})
    feed(sink, [block([maps], "decoder")])
    return {passage: found for (_, _, _, passage), found in sink.result().items()}


def rows_with_tops(*tops: int) -> Map:
    """Return a causal map of one head whose rows have most weight on these keys."""
    count = len(tops)
    weights = np.where(causal(count), 0.1 / np.arange(1, count + 1)[:, None], 0)
    weights[np.arange(count), tops] += 0.9
    return by_hand(weights.tolist(), causal(count))


def test_the_row_before_a_written_token_must_have_it_as_its_top_key() -> None:
    # x (token 4) is predicted by row 3, y (token 5) by row 4
    found = score(rows_with_tops(0, 0, 0, 1, 3, 0))
    assert found["doc"] == Retrieval(0.5, pytest.approx(1 / 4 / 2), 0.5, 2)
    assert found["other"] == Retrieval(0.5, pytest.approx(1 / 5 / 2), 0.5, 2)
    assert found["written"] == Retrieval(0, 0, 0, 2)


def test_the_rows_of_the_written_tokens_themselves_do_not_count() -> None:
    assert score(rows_with_tops(0, 0, 0, 0, 1, 3))["doc"].score == 0
    assert score(rows_with_tops(0, 0, 0, 0, 1, 3))["other"].score == 0


def test_a_uniform_head_scores_what_is_expected_of_it() -> None:
    uniform = by_hand((np.tri(6) / np.arange(1, 7)[:, None]).tolist(), causal(6))
    for found in score(uniform).values():
        assert found.score == pytest.approx(found.uniform)


def test_the_same_word_as_another_token_is_no_copy() -> None:
    assert score(rows_with_tops(0, 0, 0, 1, 3, 0), ("a", "Ġx", "b", "y", "x", "y"))["doc"].most == 0


def test_the_mean_over_texts_leaves_out_those_without_the_passage_or_without_written_tokens() -> None:
    maps = [rows_with_tops(0, 0, 0, 1, 3, 0), rows_with_tops(0, 0, 0, 0, 0, 0), rows_with_tops(0, 0, 0, 1, 1, 0)]
    other = Partition(("doc", "written"), np.array([0, 0, 0, 0, 1, 1]))
    passages = {(0, "decoder"): PASSAGES, (1, "decoder"): other, (2, "decoder"): PASSAGES}
    written = {(0, "decoder"): np.array([4, 5]), (1, "decoder"): np.array([4, 5]), (2, "decoder"): np.array([], int)}
    sink = RetrievalScore([text(TEXT, index) for index in range(3)], written, passages)  # type: ignore[arg-type]
    feed(sink, [block(maps, "decoder", padding=(1, 2))])
    found = sink.result()
    assert found["decoder", 0, 0, "doc"] == Retrieval(0.25, pytest.approx((1 / 8 + 9 / 40) / 2), 0.75, 4)
    assert found["decoder", 0, 0, "other"].tokens == 2


@given(st.integers(0, 10**6), st.integers(1, 11), st.sampled_from(["causal", "sliding", "blind"]), st.booleans())
def test_any_cut_of_the_stream_gives_what_loops_give(seed: int, cut: int, rule: str, coarse: bool) -> None:
    random = np.random.default_rng(seed)
    pieces = tuple(random.choice(["a", "b", "c"], 12).tolist())
    numbers, written = random.integers(0, 3, 12), np.flatnonzero(random.random(12) < 0.4)
    maps = random_map(seed, 3, 12, 12, rule)
    if coarse:  # many keys share the top weight
        maps = Map((maps.weights * 4).ceil() / 4 * mask(rule, 12, 12), maps.visible, maps.special)
    whole = block([maps], "decoder", padding=(2, 1), left=seed % 2 == 0)
    blocks = [part(whole, 0, cut, [2, 0, 1]), part(whole, cut, whole.raw.shape[2], [0]), part(whole, cut, 14, [1, 2])]
    partition = Partition(("p", "q", "r"), numbers)
    sink = RetrievalScore([text(pieces)], {(0, "decoder"): written}, {(0, "decoder"): partition})
    feed(sink, blocks)
    found = sink.result()
    for head in range(3):
        rows = [(p, maps.weights[head, p - 1].tolist()) for p in written.tolist() if p and maps.visible[p - 1].any()]
        for number, name in enumerate("pqr"):
            if not rows:
                assert ("decoder", 0, head, name) not in found
                continue
            values = found["decoder", 0, head, name]
            expected = [
                naive(pieces, numbers.tolist(), number, p, row, maps.visible[p - 1].tolist()) for p, row in rows
            ]
            assert (values.score, values.uniform, values.most) == pytest.approx(np.mean(expected, axis=0).tolist())
            assert values.tokens == len(rows)


def naive(
    pieces: tuple[str, ...], numbers: list[int], passage: int, p: int, row: list[float], visible: list[bool]
) -> tuple[float, float, float]:
    """Return score, uniform score and largest score of one written token."""
    seen = [key for key in range(len(pieces)) if visible[key]]
    copies = {key for key in seen if pieces[key] == pieces[p] and numbers[key] == passage}
    top = [key for key in seen if row[key] == max(row[key] for key in seen)]
    return len(copies & set(top)) / len(top), len(copies) / len(seen), float(bool(copies))


def test_blocks_without_a_predicting_row_are_passed_over() -> None:
    sink = RetrievalScore([text(TEXT)], {(0, "decoder"): np.array([4, 5])}, {(0, "decoder"): PASSAGES})
    rows: Rows = block([rows_with_tops(0, 0, 0, 1, 3, 0)], "decoder")
    feed(sink, [part(rows, 0, 3), part(rows, 5, 6)])
    assert sink.result() == {}
    kinds: list[Kind] = ["encoder"]
    feed(sink, [block([rows_with_tops(0, 0, 0, 1, 3, 0)], kind) for kind in kinds])
    assert sink.result() == {}
