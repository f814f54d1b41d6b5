"""Models in half precision are streamed where their formula is the plain one, whatever rounding does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaModel
from transformers.models.llama import modeling_llama

from attncli.capturing import plan
from attncli.inputs.batches import batch_from_tensors
from attncli.models import load, wrap_model

IDS = torch.arange(10, 22)[None]
HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "calls"), [("decoder", 3), ("encoder", 4), ("seq2seq", 7)])
def test_bundled_models_are_streamed(name: str, calls: int, dtype: str) -> None:
    made = plan(load(f"demo:{name}", device="cpu", dtype=dtype))
    assert made.route == "stream", made.reason
    assert [site.route for site in made.sites] == ["stream"] * calls


def route(dtype: torch.dtype, std: float = 0.4) -> str:
    """Return the route of a model with scores of up to 40, whose rounding changes weights by more than 2 %."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=60, hidden_size=32, intermediate_size=8, num_hidden_layers=2, num_attention_heads=4)
    model = LlamaModel(config).eval()
    for layer in model.layers:
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            torch.nn.init.normal_(projection.weight, std=std)
    loaded = wrap_model(model.to(dtype))
    return plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": IDS})).route


def scaled(function: Callable[..., Any], factor: float) -> Callable[..., Any]:
    """Return an attention function with another scale."""

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **kwargs: Any) -> Any:
        return function(module, query, key, value, mask, scaling=scaling * factor, **kwargs)

    return attention


@pytest.mark.parametrize("dtype", HALF)
def test_large_scores_are_no_difference_and_a_half_per_cent_of_scale_is_one(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert route(dtype) == "stream"
    changed = scaled(modeling_llama.eager_attention_forward, 1.005)
    monkeypatch.setattr(modeling_llama, "eager_attention_forward", changed)
    assert route(dtype) == "eager"


@pytest.mark.parametrize(("factor", "expected"), [(1.0, "stream"), (3.0, "eager")])
def test_a_function_that_fails_in_float64_is_judged_in_its_own_dtype(
    factor: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, dtypes = scaled(modeling_llama.eager_attention_forward, factor), []

    def only_half(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
        dtypes.append(query.dtype)
        if query.dtype == torch.float64:
            raise RuntimeError("expected scalar type Half")
        return changed(module, query, key, value, mask, **kwargs)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", only_half)
    assert route(torch.float16, std=0.2) == expected
    assert set(dtypes) == {torch.float16, torch.float64}
