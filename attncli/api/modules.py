"""Attention of modules that are no Transformers models: of one pass, and of whatever runs in a context."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from attncli.api.run import Run
from attncli.capturing import plan_module
from attncli.engine.passes import Pass
from attncli.engine.request import Request
from attncli.inputs.module_inputs import AxisNames, AxisShape, Names, hold_module, module_batch


def capture_module(module: nn.Module, inputs: object, names: Names | None, request: Request) -> Run:
    """Return a run of a module on inputs; the module stays unchanged.

    Raise UsageError if inputs or names are wrong, ModelError if the module fails or no attention can be measured.
    """
    axis_names = AxisNames.of(names)
    loaded, tensors = hold_module(module, inputs)
    plan, axes = plan_module(loaded, tensors, request.capture, axis_names.lengths)
    shapes = {kind: AxisShape(*axes.lengths[kind], axes.extra.get(kind, ())) for kind in axes.lengths}
    batch = module_batch(tensors, axes.batch, shapes, axes.padding, axis_names)
    prepared = Pass.prepare(loaded, plan, [batch], replace(request, any_axes=True))
    return Run(**vars(prepared.collect([encoded.text for encoded in batch.inputs])))
