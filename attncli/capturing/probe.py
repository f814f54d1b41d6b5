"""The probing pass: a model's own eager attention on a short text, call by call, beside our computation of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from attncli.capturing.blocks import AttentionCall, Block, attend, visible_cells
from attncli.capturing.gate import visible_by_scores
from attncli.capturing.intercept import Key, Trace, intercepted
from attncli.capturing.plan import Function
from attncli.capturing.projection import Projection, ProjectionFinder
from attncli.inputs.batches import Batch, accepted_arguments

Tensor = torch.Tensor
AGREE = 1e-5
ROUNDING = {torch.bfloat16: 2e-2, torch.float16: 4e-3}
"""How far two computations in half precision may differ; others may by `AGREE`."""


@dataclass(frozen=True, eq=False)
class ProbedCall:
    """One call of the probing pass.

    owner     the innermost running module that is attention by name or class
    function  how it came: dispatched by Transformers, `sdpa` or `softmax` called by the model itself
    weights   [batch, head, query, key] as the model computed them
    streams   whether our block function gives the same weights and output
    projects  the module that is given the output, where one is given just that
    """

    key: Key
    stack: tuple[str, ...]
    owner: str | None
    function: Function
    weights: Tensor
    visible: Tensor | None
    kv_heads: int | None = None
    dim: int | None = None
    streams: bool = False
    projects: Projection | None = None


@dataclass(eq=False)
class Recorder:
    """The handler that only looks: every call runs as the model wrote it."""

    seen: list[ProbedCall] = field(default_factory=list)
    trace: Trace | None = None
    scores: Tensor | None = None
    finder: ProjectionFinder = field(default_factory=ProjectionFinder)

    def dispatched(self, key: Key, function: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the model's function and ours on the same call."""
        self.scores = None
        output, weights = function(module, *args, **kwargs)
        seen = None if weights is None else probe_model(weights, self.scores)
        call = bound_call(function, module, args, kwargs)
        ours, visible, mine = whole(call)
        truth = ours if weights is None else weights
        streams = agree(ours, truth) and agree(mine.transpose(1, 2), output)
        if not streams and seen is not None:
            visible = seen
        self._add(key, "dispatch", truth, visible, call.key, streams)
        if streams:
            self.finder.came(key, output)
        return output, weights

    def sdpa(self, key: Key, function: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
        """A direct call of torch's attention: its output checks our weights."""
        output: Tensor = function(*args, **kwargs)
        call = AttentionCall.torch_sdpa(*args, **kwargs)
        if call.query.dim() == 4:
            ours, visible, mine = whole(call)
            streams = agree(mine, output)
            self._add(key, "sdpa", ours, visible, call.key, streams)
            if streams:
                self.finder.came(key, output.transpose(1, 2))
        return output

    def softmax(self, key: Key, scores: Tensor, weights: Tensor) -> None:
        """A softmax of the model's own over the last axis of something that may be [batch, head, query, key]."""
        if weights.dim() < 3:
            return
        self._add(key, "softmax", weights, visible_by_scores(scores), None, False)

    def inner_softmax(self, scores: Tensor) -> None:
        """What the model's own function gives to its softmax: it may mask more than it is handed a mask for."""
        self.scores = scores

    def _add(
        self, key: Key, function: Function, weights: Tensor, visible: Tensor | None, keys: Tensor | None, ok: bool
    ) -> None:
        assert self.trace is not None
        owner = self.trace.attention()
        heads, dim = (None, None) if keys is None else (keys.shape[1], keys.shape[3])
        self.seen.append(ProbedCall(key, tuple(self.trace.stack), owner, function, weights, visible, heads, dim, ok))


def bound_call(function: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> AttentionCall:
    """The call by name: the first five parameters of every attention function are module, query, key, value, mask."""
    bound = inspect.signature(function).bind(module, *args, **kwargs).arguments
    first = [bound.pop(name) for name in list(bound)[:5]]
    more = {**bound.pop("kwargs", {}), **bound}
    return AttentionCall.dispatched(*first, **more)


def probe_model(weights: Tensor, scores: Tensor | None) -> Tensor | None:
    """Which keys each row may see, by the scores of a softmax whose first columns became these weights."""
    if scores is None or scores.shape[:-1] != weights.shape[:-1] or scores.shape[-1] < weights.shape[-1]:
        return None
    return visible_by_scores(scores)[..., : weights.shape[-1]]


def whole(call: AttentionCall) -> tuple[Tensor, Tensor | None, Tensor]:
    """All weights, visibility and output of a short call."""
    weights = call.query.new_zeros(call.shape, dtype=torch.promote_types(call.query.dtype, torch.float32))

    def lay(block: Block) -> None:
        assert block.scale is not None
        weights[:, block.heads, block.strip.rows, block.strip.keys] = block.raw * block.scale[..., None]

    output = attend(call, lay)
    every = (slice(0, size) for size in call.shape[2:])
    return weights, visible_cells(call, *every), output


def agree(one: Tensor, other: Tensor) -> bool:
    """Equal up to the rounding of the coarser dtype."""
    if one.shape != other.shape:
        return False
    allowed = max(ROUNDING.get(each.dtype, AGREE) for each in (one, other))
    scale = max(1.0, float(other.abs().max()))
    return bool((one.double() - other.double()).abs().max() <= allowed * scale)


def record(model: nn.Module, caller: Callable[..., Any], batch: Batch) -> tuple[list[ProbedCall], Any]:
    """All attention-like calls of one eager pass, and the model's outputs (with `output_attentions=True`)."""
    recorder = Recorder()
    watch = recorder.finder.watch(model)
    with torch.inference_mode(), intercepted(model, recorder, functions=True) as trace, watch:
        recorder.trace = trace
        outputs = call_model(caller, batch.tensors, output_attentions=True)
    found = recorder.finder.found
    return [replace(one, projects=found.get(one.key)) for one in recorder.seen], outputs


def call_model(caller: Callable[..., Any], tensors: Mapping[str, Tensor], **options: Any) -> Any:
    """One forward pass with the inputs and options that it takes, without a cache and with no more logits than must."""
    given = accepted_arguments(caller, {**tensors, "use_cache": False, "logits_to_keep": 1})
    parameters = inspect.signature(getattr(caller, "forward", caller)).parameters.values()
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    return caller(**given, **(options if takes_any else accepted_arguments(caller, options)))
