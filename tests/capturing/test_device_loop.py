"""The loop over blocks on a device that is not the host: torch's meta tensors lie elsewhere and have no numbers.

Whatever would wait for the device to read one, or mix what lies on it with what lies on the host, raises, with a GPU at
hand or without. The numbers of a real GPU are held against the host's in test_cuda.py.
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
from attncli.capturing.blocks import AttentionCall, attend
from attncli.capturing.emit import EmittedSide, RowEmitter
from attncli.capturing.masks import LazyMask
from attncli.capturing.plan import Site
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
    """A sink that sums up a layer and goes no further: where a layer ends, the device is waited for."""

    def __init__(self) -> None:
        self.layer: LayerSums | None = None
        self.blocks = 0

    def add(self, rows: Rows) -> None:
        self.layer = self.layer or LayerSums(rows, METRICS)
        self.layer.add(rows)
        self.blocks += 1

    def end_layer(self, kind: Kind, layer: int) -> None:
        raise AssertionError("no layer is to end here")


def emitter(sink: Sink, padded: int) -> RowEmitter:
    """What hands blocks to the sink, its tokens on the device."""
    batch = Batch(TEXT, {}, torch.ones(1, TOKENS, dtype=torch.bool))
    made, length = RowEmitter(batch, [sink], None, torch.float32), TOKENS - padded
    positions = torch.arange(TOKENS, device="meta")[None]
    mask = positions < length
    made.source = EmittedSide(mask, torch.where(mask, positions, -1), torch.zeros_like(mask), (length,), (0,))
    return made


def call(rule: str, dtype: torch.dtype) -> AttentionCall:
    """One on the device, of which is known which keys a strip needs: that is read once per pass, before the loop."""
    asked: dict[str, Any] = {"batch_size": 1, "q_length": TOKENS, "kv_length": TOKENS, "mask_function": RULES[rule]}
    here, there = (
        LazyMask(masking_utils.eager_mask, {**asked, "dtype": dtype, "device": torch.device(device)})
        for device in ("cpu", "meta")
    )
    list(here.strips(blocks.ROWS))
    there._reaches = here._reaches
    query, key = (torch.empty(1, heads, TOKENS, DIM, dtype=dtype, device="meta") for heads in (HEADS, GROUPS))
    return AttentionCall(query, key, key, mask=there, bias=None, scale=0.3, softcap=None, sinks=None)


@pytest.mark.parametrize("padded", [0, 50])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_no_block_waits_for_the_device_or_goes_through_the_host(
    rule: str, dtype: torch.dtype, padded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CELLS", {"cpu": 1 << 18})
    sums = Sums()
    hand_on = emitter(sums, padded)
    output = attend(call(rule, dtype), lambda block: hand_on.block(SITE, block))
    assert sums.layer is not None
    values = [*sums.layer.row_values(ROW), *column_values(sums.layer.columns(), COLUMN)]
    assert sums.blocks > 5, "there is a loop"
    assert {each.device.type for each in (output, *values)} == {"meta"}
    assert output.dtype == dtype


@pytest.mark.parametrize("padded", [0, 50])
@pytest.mark.parametrize("make", [MeasureProfile, partial(StrongestEdges, top_k=3)], ids=["profile", "edges"])
def test_nor_does_what_looks_at_long_texts(make: Callable[[Sequence[Input]], Sink], padded: int) -> None:
    hand_on = emitter(make(TEXT), padded)
    assert attend(call("causal", torch.float32), lambda block: hand_on.block(SITE, block)).device.type == "meta"


def test_waiting_and_mixing_are_caught_here() -> None:
    there = torch.ones(2, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        bool(there.sum() > 0)
    with pytest.raises(NotImplementedError, match="meta"):
        there.nonzero()
    with pytest.raises(RuntimeError, match="expected device"):
        there + torch.ones(2)
