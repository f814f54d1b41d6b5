"""The loop over blocks on a device that is not the CPU: the meta device of torch, whose tensors have no numbers.

Code raises an error there if it reads a number (which waits for a GPU) or mixes tensors of two devices. No GPU is
needed. test_cuda.py compares the numbers of a real GPU with those of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from made_rows import inputs, random_map
from transformers import masking_utils

from attncli import registry
from attncli.capturing import blocks
from attncli.capturing import compiled as compiled_blocks
from attncli.capturing.attention_call import AttentionCall
from attncli.capturing.blocks import attend
from attncli.capturing.emit import RowEmitter, TokenAxis
from attncli.capturing.masks import LazyMask
from attncli.capturing.sites import Site
from attncli.data import Input, Kind, Metric, Rows
from attncli.inputs.batches import Batch
from attncli.stream import MeasureProfile, Sink, StrongestEdges
from attncli.stream.layer_sums import LayerSums, column_values

TOKENS, HEADS, GROUPS, DIM = 700, 4, 2, 8
METRICS: list[Metric] = [module.METRIC for module in registry.modules("metrics").values()]
ROW, COLUMN = ([metric for metric in METRICS if metric.scope == scope] for scope in ("row", "column"))
TEXT = tuple(inputs([random_map(0, 1, TOKENS, TOKENS)]))
SITE = Site("decoder", 0, HEADS, GROUPS, "made", ("made", 0), "stream")
RULES = {
    "causal": masking_utils.causal_mask_function,
    "sliding": masking_utils.sliding_window_causal_mask_function(100),
}


class Sums:
    """A sink that sums up blocks, but may not end a layer: the end of a layer waits for the device."""

    def __init__(self) -> None:
        self.layer: LayerSums | None = None
        self.blocks = 0

    def add(self, rows: Rows) -> None:
        self.layer = self.layer or LayerSums(rows, METRICS)
        self.layer.add(rows)
        self.blocks += 1

    def end_layer(self, kind: Kind, layer: int) -> None:
        raise AssertionError("no layer may end here")


def emitter(sink: Sink, padded: int, device: str = "meta") -> RowEmitter:
    """An emitter for this sink whose tokens are on the device."""
    batch = Batch(TEXT, {}, torch.ones(1, TOKENS, dtype=torch.bool))
    row_emitter, length = RowEmitter(batch, [sink], None, torch.float32), TOKENS - padded
    positions = torch.arange(TOKENS, device=device)[None]
    mask = positions < length
    row_emitter.source = TokenAxis(mask, torch.where(mask, positions, -1), torch.zeros_like(mask), (length,), (0,))
    return row_emitter


def call(rule: str, dtype: torch.dtype) -> AttentionCall:
    """A call on the device whose mask knows the bounds of its strips, which are read once per pass, before the loop."""
    request: dict[str, Any] = {"batch_size": 1, "q_length": TOKENS, "kv_length": TOKENS, "mask_function": RULES[rule]}
    on_cpu, on_device = (
        LazyMask(masking_utils.eager_mask, {**request, "dtype": dtype, "device": torch.device(device)})
        for device in ("cpu", "meta")
    )
    list(on_cpu.strips(blocks.ROWS))
    on_device._bounds_by_step = on_cpu._bounds_by_step
    query, key = (torch.empty(1, heads, TOKENS, DIM, dtype=dtype, device="meta") for heads in (HEADS, GROUPS))
    return AttentionCall(query, key, key, mask=on_device, bias=None, scale=0.3, softcap=None, sinks=None)


@pytest.mark.parametrize(("padded", "compiled"), [(0, False), (50, False), (0, True), (50, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_no_block_waits_for_the_device_or_is_copied_to_the_cpu(
    rule: str, dtype: torch.dtype, padded: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CELLS", {"cpu": 1 << 18})
    # the function that is compiled; no compiler makes code for this device
    monkeypatch.setattr(compiled_blocks, "compiled_exp_sums", lambda: compiled_blocks.exp_sums)
    sums = Sums()
    row_emitter = emitter(sums, padded)
    output = attend(call(rule, dtype), lambda block: row_emitter.emit(SITE, block), compiled=compiled)
    assert sums.layer is not None
    values = [*sums.layer.row_values(ROW), *column_values(sums.layer.columns(), COLUMN)]
    assert sums.blocks > 5, "there are several blocks"
    assert {tensor.device.type for tensor in (output, *values)} == {"meta"}
    assert output.dtype == dtype


def test_compiled_sums_of_padded_texts_are_those_of_plain_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, heads, TOKENS, DIM, generator=generator) for heads in (HEADS, GROUPS))
    causal = AttentionCall(query, key, key, mask=None, bias=None, scale=0.3, softcap=None, sinks=None, causal=True)
    of_layers = []
    for compiled in (False, True):
        sums = Sums()
        row_emitter = emitter(sums, 50, "cpu")
        with torch.inference_mode():
            attend(causal, partial(row_emitter.emit, SITE), compiled=compiled)
            assert sums.layer is not None
            of_layers.append([*sums.layer.row_values(ROW), *column_values(sums.layer.columns(), COLUMN)])
    for plain, by_compiled in zip(*of_layers, strict=True):
        torch.testing.assert_close(by_compiled, plain, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("padded", [0, 50])
@pytest.mark.parametrize("make", [MeasureProfile, partial(StrongestEdges, top_k=3)], ids=["profile", "edges"])
def test_sinks_for_long_texts_do_not_wait_either(make: Callable[[Sequence[Input]], Sink], padded: int) -> None:
    row_emitter = emitter(make(TEXT), padded)
    assert attend(call("causal", torch.float32), lambda block: row_emitter.emit(SITE, block)).device.type == "meta"


def test_reading_and_mixing_raise_errors_on_the_meta_device() -> None:
    on_device = torch.ones(2, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        bool(on_device.sum() > 0)
    with pytest.raises(NotImplementedError, match="meta"):
        on_device.nonzero()
    with pytest.raises(RuntimeError, match="expected device"):
        on_device + torch.ones(2)
