"""The example against a plain loop over full maps."""

from __future__ import annotations

import numpy as np
import pytest
from attncli_previous_word import PreviousWordOptions, PreviousWordStudy

import attncli
from attncli.data import Attention

TEXTS = ["The unbelievable cat sat on the mat.", "It was warm."]


def mean_to_previous_word(maps: list[Attention], layer: int, head: int, back: int) -> tuple[float, float]:
    mass, uniform = [], []
    for attention in maps:
        weights = attention.sel(layer=layer, head=head).values
        words, causal = attention.queries.words, attention.kind == "decoder"
        for row, word in enumerate(words):
            seen = np.arange(len(words)) <= (row if causal else len(words))
            hits = seen & (words == word - back) & (word - back >= 0)
            if hits.any():
                mass.append(weights[row, hits].sum())
                uniform.append(hits.sum() / seen.sum())
    return float(np.mean(mass)), float(np.mean(uniform))


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_sink_is_the_plain_loop(name: str) -> None:
    model = attncli.load(f"demo:{name}")
    run = model.run(TEXTS, head="0,2", keep_maps=True)
    for back in (1, 2):
        study = PreviousWordStudy(PreviousWordOptions(back))
        streamed, kept = model.study(study, TEXTS, head="0,2"), run.study(study)
        places = zip(streamed.columns["layer"], streamed.columns["head"], strict=True)
        expected = [mean_to_previous_word(list(run.maps), *map(int, place), back) for place in places]
        for result in (streamed, kept):
            numbers = np.stack([result.columns["mass"], result.columns["uniform_mass"]], axis=1)
            np.testing.assert_allclose(numbers, expected, rtol=1e-5)


def test_a_model_with_both_kinds_has_no_row_for_cross_attention() -> None:
    result = attncli.load("demo:seq2seq").study(PreviousWordStudy(), TEXTS[0], target=TEXTS[1])
    assert set(result.columns["kind"]) == {"encoder", "decoder"}


def test_no_word_before_is_undefined() -> None:
    result = attncli.load().study(PreviousWordStudy(PreviousWordOptions(50)), TEXTS)
    assert np.isnan(result.columns["mass"]).all()
    with pytest.raises(attncli.UsageError, match="back from 1 up, got 0"):
        attncli.load().study(PreviousWordStudy(PreviousWordOptions(0)), TEXTS)
