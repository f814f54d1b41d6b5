"""Masks computed in blocks equal the full masks of Transformers, and no tensor grows with the square of the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    AutoModel,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    PreTrainedConfig,
)
from transformers import masking_utils as masks
from transformers.masking_utils import AttentionMaskInterface

from attncli import registry
from attncli.capturing import masks as capturing_masks
from attncli.capturing import plan as make_plan
from attncli.capturing import run as capture_run
from attncli.capturing.masks import LazyMask, lazy_masks
from attncli.capturing.patches import capturing
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.stream import KeepMaps, Measure

TOKENS = 23
PACKED = torch.tensor([[0] * 9 + [1] * 14])
PADDED = torch.tensor([[True] * 20 + [False] * 3, [True] * 23])
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "causal": masks.causal_mask_function,
    "sliding": masks.sliding_window_causal_mask_function(5),
    "two-sided window": masks.sliding_window_bidirectional_mask_function(4),
    "chunked": masks.chunked_causal_mask_function(6, torch.zeros(2, dtype=torch.int)),
    "packed": masks.and_masks(masks.packed_sequence_mask_function(PACKED.expand(2, -1)), masks.causal_mask_function),
    "all": masks.bidirectional_mask_function,
}


def request(function: Callable[..., Any], padding: torch.Tensor | None = None) -> dict[str, Any]:
    return {
        "batch_size": 2,
        "q_length": TOKENS,
        "kv_length": TOKENS,
        "q_offset": 0,
        "kv_offset": 0,
        "mask_function": function,
        "attention_mask": padding,
        "dtype": torch.float32,
        "device": "cpu",
    }


@pytest.mark.parametrize("padding", [None, PADDED], ids=["unpadded", "padded"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_strips_together_are_the_mask_of_transformers(name: str, padding: torch.Tensor | None) -> None:
    mask_request = request(FUNCTIONS[name], padding)
    full = masks.eager_mask(**mask_request) == 0
    mask = LazyMask(masks.eager_mask, mask_request)
    for step in (1, 4, 5, TOKENS):
        for _ in range(2):  # the second time from the kept strips
            joined = torch.zeros_like(full)
            for strip in mask.strips(step):
                assert strip.visible is not None
                joined[:, :, strip.rows, strip.keys] = strip.visible
                clear = strip.visible[..., strip.clear]
                assert clear.all()
                listed = torch.zeros(strip.visible.shape[-1], dtype=torch.bool)
                for side, visible in strip.outside_clear:
                    listed[side] = True
                    assert torch.equal(visible == 1, strip.visible[..., side])
                assert not strip.visible[..., ~listed].logical_not().any()
                ahead = full[:, :, strip.rows].triu(strip.rows.start + 1).any()
                assert strip.ahead == bool(ahead)
            assert torch.equal(joined, full)


def test_causal_strips_end_with_their_rows_and_mask_only_their_triangle() -> None:
    mask = LazyMask(masks.eager_mask, request(FUNCTIONS["causal"]))
    strips = list(mask.strips(8))
    assert [strip.keys for strip in strips] == [slice(0, 8), slice(0, 16), slice(0, 23)]
    assert [strip.clear for strip in strips] == [slice(0, 1), slice(0, 9), slice(0, 17)]
    assert not any(strip.ahead for strip in strips)


def test_no_more_cells_are_kept_for_later_layers_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capturing_masks, "KEPT_CELLS", 4 * 4 + 4 * 8)
    mask = LazyMask(masks.eager_mask, request(FUNCTIONS["causal"]))
    first, second = list(mask.strips(4)), list(mask.strips(4))
    assert [strip is again for strip, again in zip(first, second, strict=True)] == [True] * 2 + [False] * 4


@pytest.mark.parametrize(
    "operation",
    [
        lambda mask: mask + 0,
        lambda mask: mask[:, :, :5, :7],
        lambda mask: torch.where(mask < 0, 1.0, 2.0),
        lambda mask: mask.expand(-1, 3, -1, -1),
    ],
    ids=["added", "cut", "compared", "expanded"],
)
def test_a_torch_operation_on_a_mask_gets_the_full_mask(
    operation: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    mask_request = request(FUNCTIONS["sliding"], PADDED)
    mask = LazyMask(masks.eager_mask, mask_request)
    assert mask.shape == (2, 1, TOKENS, TOKENS)
    assert mask.dtype == torch.float32
    result = operation(mask)
    assert not isinstance(result, LazyMask)
    assert torch.equal(result, operation(masks.eager_mask(**mask_request)))


class Running:
    """A capture whose model runs."""

    running = True


def test_transformers_makes_full_masks_again_afterwards_also_on_error() -> None:
    def interrupted() -> None:
        with lazy_masks(), capturing(Running()):
            assert isinstance(AttentionMaskInterface()["eager"](**request(FUNCTIONS["causal"])), LazyMask)
            raise KeyboardInterrupt

    before = AttentionMaskInterface()["eager"]
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert AttentionMaskInterface()["eager"] is before


def test_a_text_that_needs_no_mask_gets_none() -> None:
    mask_request = {**request(FUNCTIONS["all"]), "allow_is_bidirectional_skip": True}
    with lazy_masks(), capturing(Running()):
        make = AttentionMaskInterface()["eager"]
        assert make(**mask_request) is None
        assert isinstance(make(**{**mask_request, "attention_mask": PADDED}), LazyMask)


# ------------------------------------------------------------------------------------ linear memory


class LargestTensor(TorchDispatchMode):
    """A mode that records the most cells of any tensor."""

    cells = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and not isinstance(leaf, LazyMask):
                self.cells = max(self.cells, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 50}
GROUPED = {**SMALL, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8192}
CONFIGS: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(n_embd=16, n_head=1, n_layer=1, n_positions=8192, vocab_size=50),
    "llama": LlamaConfig(**GROUPED),
    "sliding mistral": MistralConfig(**GROUPED, sliding_window=300),
    "two-sided modernbert": ModernBertConfig(
        **SMALL | {"num_hidden_layers": 2}, local_attention=200, max_position_embeddings=8192, pad_token_id=0
    ),
    "bert": BertConfig(**SMALL, max_position_embeddings=8192),
}


def most_cells(config: PreTrainedConfig, tokens: int, metrics: Sequence[str], **more: torch.Tensor) -> int:
    """The cells of the largest tensor while statistics of a text are computed."""
    torch.manual_seed(0)
    loaded = wrap_model(AutoModel.from_config(config).eval())
    batch = batch_from_tensors(loaded, {"input_ids": torch.randint(1, 50, (1, tokens)), **more})
    plan = make_plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": torch.randint(1, 50, (1, 12))}))
    assert plan.route == "stream"
    sink = Measure([registry.module("metrics", name).METRIC for name in metrics])
    with LargestTensor() as recorded:
        capture_run(loaded, plan, batch, [sink])
    assert sink.result(batch.inputs).heads["entropy"].values.all()
    return recorded.cells


@pytest.mark.parametrize("name", CONFIGS)
def test_no_tensor_grows_with_the_square_of_the_text(name: str) -> None:
    # which metrics there are does not depend on the model: all of them where all keys or earlier keys are visible
    metrics = registry.names("metrics") if name in ("bert", "llama") else ["entropy"]
    short, long = (most_cells(CONFIGS[name], tokens, metrics) for tokens in (4096, 8192))
    assert long <= 2 * short + 1
    assert long < 8192 * 8192 // 16


def test_packed_texts_are_masked_in_blocks_too() -> None:
    positions = torch.arange(8192).remainder(1000)[None]
    assert most_cells(CONFIGS["llama"], 8192, ["entropy"], position_ids=positions) < 8192 * 8192 // 16


def test_packed_texts_have_the_weights_of_eager_attention() -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(CONFIGS["llama"], attn_implementation="eager").eval()
    inputs = {"input_ids": torch.randint(1, 50, (1, 300)), "position_ids": torch.arange(300).remainder(90)[None]}
    with torch.inference_mode():
        expected = model(**inputs, output_attentions=True, use_cache=False).attentions[0][0]
    loaded = wrap_model(model)
    batch, keep = batch_from_tensors(loaded, inputs), KeepMaps()
    capture_run(loaded, make_plan(loaded, batch=batch), batch, [keep])
    [attention] = keep.result(batch.inputs)
    torch.testing.assert_close(torch.tensor(attention.layers[0].weights), expected, atol=1e-6, rtol=0)
    assert attention.layers[0].visible is not None
    assert not attention.layers[0].visible[0, 90, :90].any()
