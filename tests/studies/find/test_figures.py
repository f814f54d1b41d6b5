"""The picture of the first head of `find`: which keys it shows, and what it says of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_rows import block, by_hand
from pictures import faults, tokens, words
from studies.find.test_compute import found

from attncli.data import Tokens
from attncli.studies.find.figures import draw
from attncli.studies.find.result import RankedHeads


def ranked(weights: list[float], keys: list[int]) -> RankedHeads:
    one = by_hand([weights] * len(weights))
    result = found([one], [block([one])], [([0], keys)])
    return replace(result, row=replace(result.row, tokens=tokens(len(weights))))


def test_few_keys_are_all_drawn() -> None:
    figure = draw(ranked([0.1] * 10, [3]), model="a/model", note="text 0 (of 0-1)")
    assert len(figure.axes[0].patches) == 10
    assert "text 0 (of 0-1)" in words(figure)
    assert not faults(figure)


@pytest.mark.parametrize(
    ("keys", "drawn", "which"),
    [
        ([99], range(31), "32 of 100 keys: the strongest, and tokens of the key; the others sum to "),
        ([3], range(31), "31 of 100 keys: the strongest; the others sum to "),
        (list(range(60, 80)), range(20), "32 of 100 keys: the strongest, and tokens of the key; the others sum to "),
    ],
)
def test_of_many_keys_the_picture_says_which_are_drawn_and_what_the_others_sum_to(
    keys: list[int], drawn: range, which: str
) -> None:
    weights = np.arange(100, 0, -1) / 5050
    figure = draw(ranked(weights.tolist(), keys), model="a/model")
    shown = sorted({*drawn, *keys[:12]})
    (note,) = (text for text in words(figure) if text.startswith(which))
    assert float(note.removeprefix(which)) == pytest.approx(1 - weights[shown].sum(), abs=6e-4)
    assert len(figure.axes[0].patches) == len(shown)
    assert not faults(figure)


def test_long_words_are_not_cut_beside_free_space() -> None:
    result = ranked([0.25] * 4, [2])
    side = Tokens.plain(["the", "Rindfleischetikettierungsgesetz", "x" * 300, "end"])
    figure = draw(replace(result, row=replace(result.row, tokens=side)))
    assert "Rindfleischetikettierungsgesetz 1" in words(figure)
    assert any(word.startswith("xxxx") and word.endswith("… 2") for word in words(figure))
    assert figure.bbox.width <= 1250
    assert not faults(figure)
