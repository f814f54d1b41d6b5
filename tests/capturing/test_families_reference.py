"""The tiny models match their table, and eager attention of Transformers matches the formulas of the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import families
import naive_attention
import numpy as np
import pytest
from families import FAMILIES

SERVED = [name for name, family in FAMILIES.items() if family.route != "refuse"]
NAIVE: dict[str, Callable[..., Any]] = {
    "llama": naive_attention.rotary,
    "mistral": naive_attention.rotary,
    "gemma2": naive_attention.rotary,
    "gpt_oss": naive_attention.rotary,
    "bloom": naive_attention.alibi,
    "deepseek_v3": naive_attention.latent,
    "t5": naive_attention.bucketed,
}


@pytest.mark.parametrize("name", SERVED)
def test_a_family_has_the_attention_of_its_table(name: str) -> None:
    family = FAMILIES[name]
    maps = families.reference(family)
    assert {kind: tuple(n for k, n in maps if k == kind) for kind in family.layers} == family.layers
    for (kind, layer), weights in maps.items():
        queries, keys = (8 if kind != "encoder" else 12, 8 if kind == "decoder" else 12)
        size = (queries, keys) if family.is_encoder_decoder else (12, 12)
        size = (6, 12) if kind == "encoder-pooled-2x1" else size
        assert weights.shape == (1, family.heads[kind], *size)
        sink = family.sink and not (family.is_encoder_decoder and kind == "encoder")
        _check_rows(weights, families.visible(family, kind, layer, *size), sink)


def _check_rows(weights: np.ndarray, visible: np.ndarray, sink: bool) -> None:
    totals = weights.sum(-1)
    assert totals.max() <= 1 + 1e-6
    assert totals.min() < 0.9 if sink else totals.min() >= 1 - 1e-6
    assert weights[..., ~visible].sum() == 0
    assert weights[..., visible].min() > 0
    uniform = visible / visible.sum(-1, keepdims=True)
    assert np.abs(weights - uniform).sum(-1).mean() > 0.05


@pytest.mark.parametrize("name", NAIVE)
def test_eager_attention_equals_the_formula(name: str) -> None:
    family = FAMILIES[name]
    naive = NAIVE[name](families.build(family, "eager").double(), families.inputs(family))
    maps = families.reference(family)
    assert set(naive) == set(maps)
    for key, weights in maps.items():
        np.testing.assert_allclose(weights[0], naive[key], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["llama", "t5", "zamba2"])
def test_a_model_has_the_same_weights_every_time(name: str) -> None:
    first, second = (families.build(FAMILIES[name]).state_dict() for _ in range(2))
    assert all(bool((first[key] == second[key]).all()) for key in first)


def test_the_tokenizer_marks_the_ends_of_a_text() -> None:
    encoder = families.tiny_tokenizer(FAMILIES["bert"])("The cat sat.")
    assert encoder.tokens() == ["[CLS]", "the", "cat", "<unk>", ".", "[SEP]"]
    assert families.tiny_tokenizer(FAMILIES["t5"])("a dog").tokens() == ["a", "dog", "</s>"]
    assert families.tiny_tokenizer(FAMILIES["llama"])("a dog").tokens() == ["<s>", "a", "dog"]
