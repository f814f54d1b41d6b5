"""Query and key vectors of every family that streams: with their normalizers they give the float64 reference again."""

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
def caught(name: str) -> tuple[tuple[Vectors, ...], families.Maps]:
    """The vectors of a family, and its attention in float64."""
    family = FAMILIES[name]
    return kept(family), families.reference(family)


def kept(family: families.Family, heads: Selection | None = None, capture: Any = "auto") -> tuple[Vectors, ...]:
    loaded = wrap_model(families.build(family), None)
    batch = batch_from_tensors(loaded, families.inputs(family))
    sink = KeepVectors(heads)
    capture_run(loaded, make_plan(loaded, capture, batch), batch, [sink], heads)
    return sink.result()


def logs(name: str, one: Vectors, head: int) -> np.ndarray:
    """[query, key] ln of the weights that vectors and normalizers give, -inf where the family's table hides the key."""
    at = one.heads.index(head)
    seen = families.visible(FAMILIES[name], one.kind, one.layer, one.query.shape[1], one.key.shape[1])
    return np.where(seen, one.scores(head) - one.normalizer[at][:, None].astype(np.float64), -np.inf)


@pytest.mark.parametrize("name", STREAMED)
def test_weights_are_rebuilt_from_vectors(name: str) -> None:
    found, reference = caught(name)
    assert [(one.kind, one.layer) for one in found] == sorted(
        reference, key=lambda place: (KINDS.index(place[0]), place[1])
    )
    for one in found:
        assert one.bias == (name in BIASED and one.kind != "cross")
        truth = reference[one.kind, one.layer][0]
        assert one.heads == tuple(range(len(truth)))
        for head in () if one.bias else one.heads:
            assert np.allclose(np.exp(logs(name, one, head)), truth[head], atol=2e-5)


@pytest.mark.parametrize("name", sorted(BIASED))
def test_what_a_bias_adds_is_the_same_at_each_distance(name: str) -> None:
    found, reference = caught(name)
    biased = [one for one in found if one.bias]
    assert biased
    for one in biased:
        for head in one.heads:
            weights = reference[one.kind, one.layer][0][head]
            with np.errstate(divide="ignore", invalid="ignore"):
                bias = np.log(weights) - logs(name, one, head)
            for offset in range(1 - len(bias), len(bias)):
                diagonal = np.diagonal(bias, offset)[np.diagonal(weights, offset) > 1e-3]
                assert np.allclose(diagonal, diagonal[:1], atol=1e-3)


@pytest.mark.parametrize(("name", "keys"), [("mistral", (0, 0, 1, 1)), ("qwen2", (0, 0, 0, 0)), ("phi", (0, 1, 2, 3))])
def test_heads_that_share_a_key_name_it(name: str, keys: tuple[int, ...]) -> None:
    for one in caught(name)[0]:
        assert one.key_heads == keys
        assert len(one.key) == max(keys) + 1


def test_chosen_heads_alone_are_kept_with_the_keys_that_they_read() -> None:
    every = caught("mistral")[0]
    (one,) = kept(FAMILIES["mistral"], {("decoder", 1): (2, 3)})
    assert (one.layer, one.heads, one.key_heads) == (1, (2, 3), (0, 0))
    assert np.array_equal(one.query, every[1].query[2:])
    assert np.array_equal(one.key, every[1].key[1:])
    assert np.allclose(one.normalizer, every[1].normalizer[2:])


def test_where_the_model_computes_its_weights_there_are_no_vectors() -> None:
    assert kept(FAMILIES["bloom"]) == ()
    assert kept(FAMILIES["bert"], capture="eager") == ()


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = caught("gemma2")[0]
    monkeypatch.setattr(blocks, "ROWS", 5)
    monkeypatch.setitem(blocks.CELLS, "cpu", 40)
    for one, other in zip(kept(FAMILIES["gemma2"]), whole, strict=True):
        assert np.allclose(one.normalizer, other.normalizer, atol=1e-5)
        assert np.allclose(one.query, other.query, atol=1e-5)


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


def test_scales_that_differ_between_heads_are_taken_into_the_queries() -> None:
    query, scale = torch.randn(1, 2, 3, 4), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    call = AttentionCall(query, query, query, None, None, scale, None, None)  # type: ignore[arg-type]
    parts = call.score_parts(slice(1, 3), slice(0, 3))
    assert parts.scale == 1
    assert torch.equal(parts.query, query[:, :, 1:3] * scale)
