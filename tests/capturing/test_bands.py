"""Rows rebuilt from bands and blocks of keys equal the rows over all tokens; other layouts are refused."""

from __future__ import annotations

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st

from attncli.capturing import plan, run
from attncli.capturing.weights import find_layout, full_rows
from attncli.errors import ModelError
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model


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


def test_global_tokens_are_refused_with_the_name_of_the_layer() -> None:
    family = FAMILIES["longformer"]
    loaded = wrap_model(families.build(family))
    tensors = families.inputs(family)
    capture_plan = plan(loaded, batch=batch_from_tensors(loaded, tensors))
    attend_all = torch.zeros_like(tensors["input_ids"])
    attend_all[:, :2] = 1
    with pytest.raises(ModelError, match=r"encoder layer 0 \(.*attention\.self\) has keys outside of its band"):
        run(loaded, capture_plan, batch_from_tensors(loaded, {**tensors, "global_attention_mask": attend_all}), [])
