"""On a GPU the stream gives what it gives on the host, and waits for the device once per layer, not per block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from attncli import registry
from attncli.capturing import blocks
from attncli.capturing import plan as make_plan
from attncli.capturing import run as capture_run
from attncli.data import Kind, Rows, Statistics
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.stream import Measure, Sink

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch built for it")

TOKENS = 1500
CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=TOKENS,
)


def measured(device: str, dtype: torch.dtype, watch: bool = False) -> Statistics:
    torch.manual_seed(0)
    loaded = wrap_model(LlamaModel(CONFIG).eval().to(device, dtype))
    ids = torch.randint(0, 50, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    batch = batch_from_tensors(loaded, {"input_ids": ids})
    plan = make_plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": ids[:, :12]}))
    assert plan.route == "stream"
    measure = Measure([module.METRIC for module in registry.modules("metrics").values()])
    sinks: Sequence[Sink] = [Watched(measure) if watch else measure]
    capture_run(loaded, plan, batch, sinks)
    return measure.result(batch.inputs)


class Watched:
    """A sink whose blocks may not wait for the device."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self.blocks = sink, 0

    def add(self, rows: Rows) -> None:
        with no_waiting():
            self._sink.add(rows)
        self.blocks += 1

    def end_layer(self, kind: Kind, layer: int) -> None:
        self._sink.end_layer(kind, layer)


@contextmanager
def no_waiting() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_statistics_are_those_of_the_host(dtype: torch.dtype, allowed: float) -> None:
    here, there = measured("cpu", torch.float32), measured("cuda", dtype)
    for name in ("entropy", "confidence", "distance", "local_mass", "first_mass", "sink"):
        np.testing.assert_allclose(there[name].values, here[name].values, rtol=allowed, err_msg=name)


def test_no_block_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CELLS", {"cuda": 1 << 18})
    measured("cuda", torch.bfloat16, watch=True)
