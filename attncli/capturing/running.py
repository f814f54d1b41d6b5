"""The capturing pass: one forward pass over a batch, whose attention goes to the sinks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from attncli.capturing.blocks import block_bytes
from attncli.capturing.emit import RowEmitter
from attncli.capturing.intercept import intercepted
from attncli.capturing.model_errors import forward_failure, model_label
from attncli.capturing.probe import call_model
from attncli.capturing.routes import RouteHandler
from attncli.capturing.sites import CapturePlan
from attncli.data import Kind
from attncli.errors import AttnError, ModelError, is_out_of_memory
from attncli.inputs.batches import Batch, unpadded
from attncli.models import Loaded
from attncli.stream import Sink


def run(
    loaded: Loaded,
    plan: CapturePlan,
    batch: Batch,
    sinks: Sequence[Sink],
    heads: Mapping[tuple[Kind, int], tuple[int, ...]] | None = None,
) -> None:
    """Run a batch through the model and send every block of rows of the selected heads to every sink.

    heads  (kind, layer) → head numbers; None for all heads
    A batch with padding is run in one pass for each text length, without the padding. The model is not changed, also
    on error. Raises `ModelError` if the model fails or its weights are not attention weights.
    """
    functions = {site.function for site in plan.sites}
    watch = functions != {"dispatch"} or any(site.route == "eager" for site in plan.sites)
    options = {"output_attentions": True} if "output" in functions else {}
    _, caller = loaded.callers[plan.caller]
    for part in unpadded(batch):
        emitter = RowEmitter(part, sinks, heads, loaded.model.dtype)
        handler = RouteHandler(plan, emitter, len(part.inputs), loaded.model)
        try:
            with torch.inference_mode(), intercepted(loaded.model, handler, functions=watch):
                outputs = call_model(caller, part.tensors, **options)
        except AttnError:
            raise
        except Exception as error:  # the forward pass of any architecture
            if error is emitter.sink_error or is_out_of_memory(error):
                raise
            raise ModelError(
                f"{model_label(loaded)} fails on this input: {forward_failure(loaded, part, error)}"
            ) from error
        handler.emit_outputs(outputs)
        handler.check_complete()


def layer_bytes(plan: CapturePlan, batch: Batch) -> int:
    """Return the most bytes that the attention of one layer needs during a pass.

    A streamed layer needs one block; a layer that the model computes needs all its scores, weights and visibility.
    """
    most = 0
    for site in plan.sites:
        axes = [text.sides(site.kind) for text in batch.inputs]
        queries, keys = (max(len(pair[axis]) for pair in axes) for axis in (0, 1))
        shape = (len(axes), site.heads, queries, keys)
        full = math.prod(shape) * (4 + 4 + 1)
        most = max(most, block_bytes(shape, batch.source_mask.device) if site.route == "stream" else full)
    return most
