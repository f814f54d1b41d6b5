"""Bands and blocks of keys are the same rows as over all tokens, by a naive loop; what cannot be is said so."""

from __future__ import annotations

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st

from attncli.capturing import plan, run
from attncli.capturing.bands import find_layout, full_rows
from attncli.errors import ModelError
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model


def random_rows(tokens: int, padded: int, near: np.ndarray, seed: int) -> torch.Tensor:
    """Softmax rows [1, 2, padded, padded] over the near keys of the text; rows of padding are 0."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(1, 2, padded, padded, generator=draw)
    index = np.arange(padded)
    seen = torch.from_numpy(near & (index[None, :] < tokens) & (index[:, None] < tokens))
    return torch.softmax(scores.masked_fill(~seen, -torch.inf), -1).nan_to_num(0)


def as_band(rows: torch.Tensor, reach: int) -> torch.Tensor:
    length = rows.shape[-1]
    band = torch.zeros(1, length, rows.shape[1], 2 * reach + 1)
    for query in range(length):
        for key in range(max(0, query - reach), min(length, query + reach + 1)):
            band[:, query, :, key - query + reach] = rows[:, :, query, key]
    return band


def as_blocks(rows: torch.Tensor, size: int) -> torch.Tensor:
    length, heads = rows.shape[-1], rows.shape[1]
    blocks = torch.zeros(1, length // size, heads, size, 3 * size)
    for query in range(length):
        for key in range(length):
            column = key - (query // size - 1) * size
            if 0 <= column < 3 * size:
                blocks[:, query // size, :, query % size, column] = rows[:, :, query, key]
    return blocks


@given(tokens=st.integers(1, 17), reach=st.integers(1, 4), cut=st.integers(0, 16), seed=st.integers(0, 99))
def test_a_band_unfolds_to_the_rows_that_it_was_made_of(tokens: int, reach: int, cut: int, seed: int) -> None:
    padded = -(-tokens // (2 * reach)) * 2 * reach
    index = np.arange(padded)
    rows = random_rows(tokens, padded, np.abs(index[:, None] - index[None, :]) <= reach, seed)
    band = as_band(rows, reach)
    assert find_layout(band, 1, tokens) == "band"
    _check(band, "band", rows, tokens, min(cut, tokens))


@given(tokens=st.integers(1, 17), size=st.integers(1, 5), cut=st.integers(0, 16), seed=st.integers(0, 99))
def test_blocks_unfold_to_the_rows_that_they_were_made_of(tokens: int, size: int, cut: int, seed: int) -> None:
    padded = -(-tokens // size) * size
    block = np.arange(padded) // size
    rows = random_rows(tokens, padded, np.abs(block[:, None] - block[None, :]) <= 1, seed)
    blocks = as_blocks(rows, size)
    assert find_layout(blocks, 1, tokens) == "blocks"
    _check(blocks, "blocks", rows, tokens, min(cut, tokens))


def _check(near: torch.Tensor, layout: str, rows: torch.Tensor, tokens: int, cut: int) -> None:
    parts = [full_rows(near, layout, 0, cut, tokens), full_rows(near, layout, cut, tokens, tokens)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(torch.cat(parts, 2), rows[:, :, :tokens, :tokens])


def test_weight_outside_of_the_text_is_no_band() -> None:
    band = as_band(random_rows(8, 8, np.ones((8, 8), bool), 0), 2)
    assert find_layout(band, 1, 8) == "band"
    band[0, 0, 0, 0] = 0.5  # two keys left of the first token
    assert find_layout(band, 1, 8) is None


def test_plain_rows_and_even_widths_have_no_layout() -> None:
    assert find_layout(torch.rand(1, 4, 12, 12), 1, 12) is None
    assert find_layout(torch.rand(1, 12, 4, 6), 1, 12) is None
    assert find_layout(torch.rand(1, 3, 2, 4, 13), 1, 12) is None


def test_global_tokens_are_refused_by_the_name_of_the_layer() -> None:
    family = FAMILIES["longformer"]
    loaded = wrap_model(families.build(family))
    tensors = families.inputs(family)
    made = plan(loaded, batch=batch_from_tensors(loaded, tensors))
    attend_all = torch.zeros_like(tensors["input_ids"])
    attend_all[:, :2] = 1
    with pytest.raises(ModelError, match=r"encoder layer 0 \(.*attention\.self\) has keys outside of its band"):
        run(loaded, made, batch_from_tensors(loaded, {**tensors, "global_attention_mask": attend_all}), [])
