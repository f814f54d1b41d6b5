"""Query and key vectors of every streamed family, with their normalizers, give the weights of the reference."""

from __future__ import annotations

from functools import cache
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES

from attncli.capturing import blocks
from attncli.capturing import plan as make_plan
from attncli.capturing import run as capture_run
from attncli.capturing.attention_call import AttentionCall
from attncli.data import KINDS, Selection, Vectors
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.stream import KeepVectors

STREAMED = [name for name, family in FAMILIES.items() if family.route == "stream"]
BIASED = {"t5", "mt5", "umt5", "switch_transformers"}
"""Families that add a relative position bias to the scores of self-attention."""


@cache
def captured(name: str) -> tuple[tuple[Vectors, ...], families.Maps]:
    """The vectors of a family, and its reference attention in float64."""
    family = FAMILIES[name]
    return keep_vectors(family), families.reference(family)


def keep_vectors(family: families.Family, heads: Selection | None = None, capture: Any = "auto") -> tuple[Vectors, ...]:
    loaded = wrap_model(families.build(family), None)
    batch = batch_from_tensors(loaded, families.inputs(family))
    sink = KeepVectors(heads)
    capture_run(loaded, make_plan(loaded, capture, batch), batch, [sink], heads)
    return sink.result()


def log_weights(name: str, vectors: Vectors, head: int) -> np.ndarray:
    """[query, key] ln of the weights from vectors and normalizers; -inf if the table of the family masks the key."""
    index = vectors.heads.index(head)
    visible = families.visible(
        FAMILIES[name], vectors.kind, vectors.layer, vectors.query.shape[1], vectors.key.shape[1]
    )
    return np.where(visible, vectors.scores(head) - vectors.normalizer[index][:, None].astype(np.float64), -np.inf)


@pytest.mark.parametrize("name", STREAMED)
def test_weights_are_rebuilt_from_vectors(name: str) -> None:
    layers, reference = captured(name)
    in_order = sorted(reference, key=lambda layer: (KINDS.index(layer[0]), layer[1]))
    assert [(vectors.kind, vectors.layer) for vectors in layers] == in_order
    for vectors in layers:
        assert vectors.bias == (name in BIASED and vectors.kind != "cross")
        truth = reference[vectors.kind, vectors.layer][0]
        assert vectors.heads == tuple(range(len(truth)))
        for head in () if vectors.bias else vectors.heads:
            assert np.allclose(np.exp(log_weights(name, vectors, head)), truth[head], atol=2e-5)


@pytest.mark.parametrize("name", sorted(BIASED))
def test_a_bias_is_the_same_for_all_pairs_of_one_distance(name: str) -> None:
    layers, reference = captured(name)
    biased = [vectors for vectors in layers if vectors.bias]
    assert biased
    for vectors in biased:
        for head in vectors.heads:
            weights = reference[vectors.kind, vectors.layer][0][head]
            with np.errstate(divide="ignore", invalid="ignore"):
                bias = np.log(weights) - log_weights(name, vectors, head)
            for offset in range(1 - len(bias), len(bias)):
                diagonal = np.diagonal(bias, offset)[np.diagonal(weights, offset) > 1e-3]
                assert np.allclose(diagonal, diagonal[:1], atol=1e-3)


@pytest.mark.parametrize(("name", "keys"), [("mistral", (0, 0, 1, 1)), ("qwen2", (0, 0, 0, 0)), ("phi", (0, 1, 2, 3))])
def test_heads_name_the_key_head_that_they_read(name: str, keys: tuple[int, ...]) -> None:
    for vectors in captured(name)[0]:
        assert vectors.key_heads == keys
        assert len(vectors.key) == max(keys) + 1


def test_only_chosen_heads_are_kept_with_the_key_heads_that_they_read() -> None:
    all_heads = captured("mistral")[0]
    (vectors,) = keep_vectors(FAMILIES["mistral"], {("decoder", 1): (2, 3)})
    assert (vectors.layer, vectors.heads, vectors.key_heads) == (1, (2, 3), (0, 0))
    assert np.array_equal(vectors.query, all_heads[1].query[2:])
    assert np.array_equal(vectors.key, all_heads[1].key[1:])
    assert np.allclose(vectors.normalizer, all_heads[1].normalizer[2:])


def test_there_are_no_vectors_if_the_model_computes_its_weights() -> None:
    assert keep_vectors(FAMILIES["bloom"]) == ()
    assert keep_vectors(FAMILIES["bert"], capture="eager") == ()


def test_blocks_of_any_size_give_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    expected_layers = captured("gemma2")[0]
    monkeypatch.setattr(blocks, "ROWS", 5)
    monkeypatch.setitem(blocks.CELLS, "cpu", 40)
    for vectors, expected in zip(keep_vectors(FAMILIES["gemma2"]), expected_layers, strict=True):
        assert np.allclose(vectors.normalizer, expected.normalizer, atol=1e-5)
        assert np.allclose(vectors.query, expected.query, atol=1e-5)


@pytest.mark.parametrize(
    ("mask", "bias"),
    [
        (None, False),
        (torch.ones(1, 1, 3, 3, dtype=torch.bool), False),
        (torch.full((1, 1, 3, 3), torch.finfo(torch.float32).min).triu(1), False),
        (torch.full((1, 1, 3, 3), -torch.inf).triu(1), False),
        (torch.arange(-2.0, 1.0).expand(1, 2, 3, 3), True),
    ],
)
def test_a_mask_is_no_bias_but_alibi_is(mask: torch.Tensor | None, bias: bool) -> None:
    query = torch.randn(1, 2, 3, 4)
    call = AttentionCall(query, query, query, mask, None, 0.5, None, None)
    assert call.score_parts(slice(0, 3), slice(0, 3)).bias is bias


def test_scales_that_differ_between_heads_multiply_the_queries() -> None:
    query, scale = torch.randn(1, 2, 3, 4), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    call = AttentionCall(query, query, query, None, None, scale, None, None)  # type: ignore[arg-type]
    parts = call.score_parts(slice(1, 3), slice(0, 3))
    assert parts.scale == 1
    assert torch.equal(parts.query, query[:, :, 1:3] * scale)
