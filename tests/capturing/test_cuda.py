"""On a GPU the stream gives the numbers of the CPU, and waits for the device once per layer, not once per block."""

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


def measure_on(device: str, dtype: torch.dtype, watch: bool = False, compiled: bool = False) -> Statistics:
    torch.manual_seed(0)
    loaded = wrap_model(LlamaModel(CONFIG).eval().to(device, dtype))
    ids = torch.randint(0, 50, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    batch = batch_from_tensors(loaded, {"input_ids": ids})
    plan = make_plan(loaded, batch=batch_from_tensors(loaded, {"input_ids": ids[:, :12]}))
    assert plan.route == "stream"
    measure = Measure([module.METRIC for module in registry.modules("metrics").values()])
    sinks: Sequence[Sink] = [NoWaitSink(measure) if watch else measure]
    capture_run(loaded, plan, batch, sinks, compiled=compiled)
    return measure.result(batch.inputs)


class NoWaitSink:
    """A sink that fails if a block waits for the device."""

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
    """Make torch raise an error if it waits for the device."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_statistics_equal_those_of_the_cpu(dtype: torch.dtype, allowed: float, compiled: bool) -> None:
    on_cpu, on_gpu = measure_on("cpu", torch.float32), measure_on("cuda", dtype, compiled=compiled)
    for name in ("entropy", "confidence", "distance", "local_mass", "first_mass", "sink"):
        np.testing.assert_allclose(on_gpu[name].values, on_cpu[name].values, rtol=allowed, err_msg=name)


@pytest.mark.parametrize("compiled", [False, True])
def test_no_block_waits_for_the_device(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CELLS", {"cuda": 1 << 18})
    measure_on("cuda", torch.bfloat16, watch=True, compiled=compiled)
