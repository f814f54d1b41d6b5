"""Rows rebuilt from bands and blocks of keys, with global tokens, equal the rows over all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st
from transformers import LongformerConfig, LongformerForQuestionAnswering, LongformerForSequenceClassification

import attncli
from attncli.api.model import Model
from attncli.capturing import blocks, plan, run
from attncli.capturing.weights import find_layout, full_rows
from attncli.errors import ModelError
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.stream import KeepMaps


def random_rows(tokens: int, padded: int, near: np.ndarray, seed: int) -> torch.Tensor:
    """Softmax rows [1, 2, padded, padded] over the keys that `near` allows; rows of padding are 0."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(1, 2, padded, padded, generator=draw)
    index = np.arange(padded)
    visible = torch.from_numpy(near & (index[None, :] < tokens) & (index[:, None] < tokens))
    return torch.softmax(scores.masked_fill(~visible, -torch.inf), -1).nan_to_num(0)


def as_band(rows: torch.Tensor, reach: int) -> torch.Tensor:
    """Rows [1, head, query, key] as a band, [1, query, head, 2 reach + 1]."""
    length = rows.shape[-1]
    band = torch.zeros(1, length, rows.shape[1], 2 * reach + 1)
    for query in range(length):
        for key in range(max(0, query - reach), min(length, query + reach + 1)):
            band[:, query, :, key - query + reach] = rows[:, :, query, key]
    return band


def as_blocks(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Rows [1, head, query, key] as blocks, [1, block, head, query in block, 3 size]."""
    length, heads = rows.shape[-1], rows.shape[1]
    blocks = torch.zeros(1, length // size, heads, size, 3 * size)
    for query in range(length):
        for key in range(length):
            column = key - (query // size - 1) * size
            if 0 <= column < 3 * size:
                blocks[:, query // size, :, query % size, column] = rows[:, :, query, key]
    return blocks


@given(tokens=st.integers(1, 17), reach=st.integers(1, 4), cut=st.integers(0, 16), seed=st.integers(0, 99))
def test_rows_are_rebuilt_from_a_band(tokens: int, reach: int, cut: int, seed: int) -> None:
    padded = -(-tokens // (2 * reach)) * 2 * reach
    index = np.arange(padded)
    rows = random_rows(tokens, padded, np.abs(index[:, None] - index[None, :]) <= reach, seed)
    band = as_band(rows, reach)
    assert find_layout(band, 1, tokens) == "band"
    _check_rebuilt(band, "band", rows, tokens, min(cut, tokens))


@given(tokens=st.integers(1, 17), size=st.integers(1, 5), cut=st.integers(0, 16), seed=st.integers(0, 99))
def test_rows_are_rebuilt_from_blocks(tokens: int, size: int, cut: int, seed: int) -> None:
    padded = -(-tokens // size) * size
    block = np.arange(padded) // size
    rows = random_rows(tokens, padded, np.abs(block[:, None] - block[None, :]) <= 1, seed)
    blocks = as_blocks(rows, size)
    assert find_layout(blocks, 1, tokens) == "blocks"
    _check_rebuilt(blocks, "blocks", rows, tokens, min(cut, tokens))


def _check_rebuilt(near: torch.Tensor, layout: str, rows: torch.Tensor, tokens: int, cut: int) -> None:
    parts = [full_rows(near, layout, 0, cut, tokens), full_rows(near, layout, cut, tokens, tokens)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(torch.cat(parts, 2), rows[:, :, :tokens, :tokens])


def test_weights_outside_of_the_text_exclude_a_layout() -> None:
    band = as_band(random_rows(8, 8, np.ones((8, 8), bool), 0), 2)
    assert find_layout(band, 1, 8) == "band"
    band[0, 0, 0, 0] = 0.5  # two keys left of the first token
    assert find_layout(band, 1, 8) is None


def test_plain_rows_and_even_widths_have_no_layout() -> None:
    assert find_layout(torch.rand(1, 4, 12, 12), 1, 12) is None
    assert find_layout(torch.rand(1, 12, 4, 6), 1, 12) is None
    assert find_layout(torch.rand(1, 3, 2, 4, 13), 1, 12) is None


REACH = 2


def attention_by_definition(attention: Any, states: torch.Tensor, is_global: torch.Tensor) -> np.ndarray:
    """The weights [head, query, key] of one layer: near and global keys; global queries by their own projections."""
    states = states[: len(is_global)].double()

    def scores(suffix: str) -> torch.Tensor:
        query, key = (
            (states @ linear.weight.double().T + linear.bias.double()).view(len(states), attention.num_heads, -1)
            for linear in (getattr(attention, f"{name}{suffix}") for name in ("query", "key"))
        )
        return torch.einsum("qhd,khd->hqk", query, key) / attention.head_dim**0.5

    position = torch.arange(len(states))
    near = (position[:, None] - position).abs() <= REACH
    rows = scores("").masked_fill(~(near | is_global), -torch.inf).softmax(-1)
    rows[:, is_global] = scores("_global").softmax(-1)[:, is_global]
    return rows.detach().numpy()


def check_against_definition(model: Any, tensors: dict[str, torch.Tensor], is_global: Sequence[torch.Tensor]) -> None:
    modules = [
        module for name, module in model.named_modules() if name.endswith(("attention.self", "former_self_attn"))
    ]
    states: list[torch.Tensor] = []

    def note_states(_: object, args: tuple[torch.Tensor, ...], options: dict[str, torch.Tensor]) -> None:
        states.append(args[0] if args else options["hidden_states"])

    hooks = [module.register_forward_pre_hook(note_states, with_kwargs=True) for module in modules]
    model(**tensors)
    for hook in hooks:
        hook.remove()
    run = attncli.capture(model, tensors)
    assert run.info.notes == ()
    for layer, module in enumerate(modules):
        for text, flags in enumerate(is_global):
            truth = attention_by_definition(module, states[layer][text], flags)
            maps = run.attention("encoder", text=text).sel(layer=layer).values
            np.testing.assert_allclose(maps, truth, atol=2e-6)


def flags(tokens: int, *positions: int) -> torch.Tensor:
    return torch.isin(torch.arange(tokens), torch.tensor(positions))


IDS = torch.arange(33).view(3, 11) * 2 % 90 + 7


@pytest.mark.parametrize("name", ["longformer", "led"])
@pytest.mark.parametrize("masked", [False, True])
def test_global_tokens_have_their_columns_and_rows(name: str, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 4)
    model = families.build(FAMILIES[name])
    tensors = {"input_ids": IDS} | ({"decoder_input_ids": IDS[:, :6]} if name == "led" else {})
    is_global = [flags(11, 0, 5), flags(11, 0, 3, 4, 9), flags(11, 1)]
    attend_all = torch.stack(is_global).long()
    if masked:
        tensors["attention_mask"] = torch.ones_like(IDS)
        tensors["attention_mask"][1, 7:] = 0
        attend_all[1, 7:] = 0
        is_global[1] = is_global[1][:7]
    check_against_definition(model, {**tensors, "global_attention_mask": attend_all}, is_global)


def test_global_tokens_are_measured_with_a_plan_that_was_made_without_them() -> None:
    loaded = wrap_model(families.build(FAMILIES["longformer"]))
    batches = [
        batch_from_tensors(loaded, {"input_ids": IDS, "global_attention_mask": torch.stack([mask] * 3)})
        for mask in (flags(11).long(), flags(11, 0, 6).long())
    ]
    maps = []
    for planned in batches:
        sink = KeepMaps()
        run(loaded, plan(loaded, batch=planned), batches[1], [sink])
        maps.append(sink.result(batches[1].inputs)[0].sel(layer=0).values)
    np.testing.assert_array_equal(*maps)


def test_a_classifier_has_its_own_global_attention_on_the_first_token() -> None:
    config = LongformerConfig(**FAMILIES["longformer"].config)
    check_against_definition(LongformerForSequenceClassification(config).eval(), {"input_ids": IDS}, [flags(11, 0)] * 3)
    model = Model(wrap_model(LongformerForSequenceClassification(config).eval(), families.tiny_tokenizer()))
    first = model.run("the animal did not cross the street because it was too tired").attention("encoder").sel(layer=0)
    assert first.values[:, 0].min() > 0


def test_question_answering_marks_the_question_or_fails_with_the_error_of_the_model() -> None:
    config = LongformerConfig(**FAMILIES["longformer"].config, sep_token_id=5)
    model, ids = LongformerForQuestionAnswering(config).eval(), IDS[:1].clone()
    with pytest.raises(ModelError, match="exactly three separator tokens"):
        attncli.capture(model, {"input_ids": ids})
    ids[0, [3, 4, 10]] = 5
    check_against_definition(model, {"input_ids": ids}, [flags(11, 0, 1, 2)])


def test_a_text_with_as_many_tokens_as_the_band_has_columns_is_not_mistaken_for_a_matrix() -> None:
    model = families.build(FAMILIES["longformer"])
    check_against_definition(model, {"input_ids": IDS[:1, : 2 * REACH + 1]}, [flags(2 * REACH + 1)])
