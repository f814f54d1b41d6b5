"""The probing pass: one eager pass on a short text that compares each attention call with attncli's own computation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils._pytree import tree_map
from transformers import PreTrainedModel

from attncli.capturing.attention_call import AttentionCall
from attncli.capturing.blocks import Block, attend
from attncli.capturing.canvas import canvas_input
from attncli.capturing.composed import Composed
from attncli.capturing.intercept import Args, CallKey, KwArgs, Output, Trace, intercepted
from attncli.capturing.projection import Projection, ProjectionFinder
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import Function
from attncli.capturing.weights import visible_by_scores
from attncli.inputs.batches import Batch, accepted_arguments, forward_parameters

Tensor = torch.Tensor
AGREE = 1e-5
ROUNDING = {torch.bfloat16: 2e-2, torch.float16: 4e-3}
"""How far two computations may differ in half precision; in other dtypes they may differ by `AGREE`."""
Read = Callable[[Args, KwArgs], AttentionCall]
"""A function that reads a call from the arguments of an attention function."""


@dataclass(frozen=True, eq=False)
class ProbedCall:
    """One call of the probing pass.

    stack       qualified names of the running modules, outermost first
    owner       the innermost running module that is attention by name or class
    inputs      the tensors that decide the weights: queries and keys, or scores
    weights     [batch, head, query, key] as the model computed them
    visible     which keys are visible to each row, with the shape of weights; None if all
    kv_heads    number of key heads, and `dim` the size of a key vector; None for a softmax
    streamable  whether attncli computes the same weights and output
    projection  the module that multiplies the unchanged output of the call by W_O
    composed    what is known of the opened function of torch that makes the call; None outside of one
    """

    key: CallKey
    stack: tuple[str, ...]
    owner: str | None
    function: Function
    inputs: tuple[Tensor, ...]
    weights: Tensor
    visible: Tensor | None
    kv_heads: int | None = None
    dim: int | None = None
    streamable: bool = False
    projection: Projection | None = None
    composed: Composed | None = None

    def has_inputs_of(self, other: ProbedCall) -> bool:
        """Return whether both calls read the same memory."""
        ours, theirs = (
            [(part.data_ptr(), part.shape, part.stride()) for part in call.inputs] for call in (self, other)
        )
        return ours == theirs


@dataclass(eq=False)
class Recorder:
    """A handler that records every call and changes none; `scores` are those of the last softmax in a call."""

    calls: list[ProbedCall] = field(default_factory=list)
    trace: Trace | None = None
    scores: Tensor | None = None
    finder: ProjectionFinder = field(default_factory=ProjectionFinder)

    def dispatched(self, key: CallKey, function: Callable[..., Output], args: Args, kwargs: KwArgs) -> Output:
        """Run the function of the model and compare it with attncli's computation of the same call."""

        def read(args: Args, kwargs: KwArgs) -> AttentionCall:
            return AttentionCall.from_dispatch(function, args, kwargs)

        return self._compare(key, "dispatch", function, read, args, kwargs)

    def sdpa(self, key: CallKey, function: Callable[..., Tensor], args: Args, kwargs: KwArgs) -> Tensor:
        """Run torch's attention; it returns no weights, so only its output is compared."""

        def run(*args: Any, **kwargs: Any) -> Output:
            return function(*args, **kwargs).transpose(1, 2), None

        def read(args: Args, kwargs: KwArgs) -> AttentionCall:
            return AttentionCall.from_sdpa(*args, **kwargs)

        assert self.trace is not None
        query, rows, keys = args[0] if args else kwargs["query"], *read(args, kwargs).shape[2:]
        if query.dim() > 4 and self.trace.opens:
            self._add(key, "sdpa", (query,), query.new_zeros(*query.shape[:-2], rows, keys), None)
        if query.dim() > 4 or (query.dim() < 4 and not self.trace.opens):
            return function(*args, **kwargs)
        if query.dim() < 4:
            function = with_heads(function, query.dim())
        output = self._compare(key, "sdpa", run, read, args, kwargs)[0].transpose(1, 2)
        return output.reshape(*query.shape[:-1], output.shape[-1]) if query.dim() < 4 else output

    def softmax(self, key: CallKey, scores: Tensor, weights: Tensor) -> Tensor:
        """Record a softmax of the model that may be over keys."""
        assert self.trace is not None
        if weights.dim() >= (2 if self.trace.opens else 3):
            self.finder.note_weights(key, weights)
            self._add(key, "softmax", (scores,), weights, visible_by_scores(scores))
        return weights

    def inner_softmax(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Keep the scores: they show which keys the function masks in addition to the mask that it receives."""
        self.scores = scores
        return weights

    def _compare(
        self, key: CallKey, function: Function, run: Callable[..., Output], read: Read, args: Args, kwargs: KwArgs
    ) -> Output:
        """Record a call; it is streamable if attncli gets the same result. Return the result of the model.

        run   the function of the model; it returns the output [batch, query, head, dim] and the weights or None
        read  function that returns the call of these arguments
        """
        self.scores = None
        output, weights = run(*args, **kwargs)
        scores, call = self.scores, read(args, kwargs)
        computed_weights, visible, computed_output = compute_full(call)
        recorded_weights = computed_weights if weights is None else weights
        streamable = is_plain_formula(run, read, args, kwargs) if call.query.dtype in ROUNDING else None
        if streamable is None:
            streamable = agree(computed_weights, recorded_weights) and agree(computed_output.transpose(1, 2), output)
        if not streamable and weights is not None:
            model_visible = visible_in_softmax(weights, scores)
            visible = visible if model_visible is None else model_visible
        sizes = call.key.shape[1], call.key.shape[3]
        self._add(key, function, (call.query, call.key), recorded_weights, visible, *sizes, streamable)
        self.finder.note_output(key, output)
        return output, weights

    def _add(self, key: CallKey, function: Function, *fields: Any) -> None:
        """Record a call; `fields` are the fields of `ProbedCall` from `inputs` on."""
        assert self.trace is not None
        stack, owner = tuple(self.trace.stack), self.trace.attention_module()
        call = ProbedCall(key, stack, owner, function, *fields)
        self.calls.append(replace(call, composed=self.trace.composed) if self.trace.composed else call)


def visible_in_softmax(weights: Tensor, scores: Tensor | None) -> Tensor | None:
    """Return which keys are visible to each row, by the scores of the softmax; None if the shapes do not match.

    scores  [batch, head, query, key]; more keys than in `weights` are allowed, and left out
    """
    if scores is None or scores.shape[:-1] != weights.shape[:-1] or scores.shape[-1] < weights.shape[-1]:
        return None
    return visible_by_scores(scores)[..., : weights.shape[-1]]


def compute_full(call: AttentionCall) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return all weights, the visibility and the output of a short call, computed in blocks."""
    weights = call.query.new_zeros(call.shape, dtype=torch.promote_types(call.query.dtype, torch.float32))

    def copy(block: Block) -> None:
        assert block.scale is not None
        weights[:, block.heads, block.strip.rows, block.strip.keys] = block.raw * block.scale[..., None]

    output = attend(call, copy)
    rows, keys = (slice(0, size) for size in call.shape[2:])
    return weights, call.visible(rows, keys), output


def is_plain_formula(run: Callable[..., Output], read: Read, args: Args, kwargs: KwArgs) -> bool | None:
    """Return whether a function computes what attncli does, judged in float64; None if it fails in float64.

    In half precision the rounding of large scores hides small differences and looks like large ones.
    """
    args, kwargs = tree_map(_to_float64, (args, kwargs))
    try:
        output, weights = run(*args, **kwargs)
        computed_weights, _, computed_output = compute_full(read(args, kwargs))
    except Exception:  # the function of any architecture; it may need the dtype of its module
        return None
    return (weights is None or agree(computed_weights, weights)) and agree(computed_output.transpose(1, 2), output)


def _to_float64(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def agree(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are equal up to the rounding of the coarser dtype."""
    if first.shape != second.shape:
        return False
    allowed = max(ROUNDING.get(tensor.dtype, AGREE) for tensor in (first, second))
    first, second = first.detach(), second.detach()
    scale = max(1.0, float(second.abs().max()))
    return bool((first.double() - second.double()).abs().max() <= allowed * scale)


def with_heads(function: Callable[..., Tensor], axes: int) -> Callable[..., Tensor]:
    """Return an attention function whose result has the axes batch and head before the `axes` of its queries."""

    def run(*args: Any, **kwargs: Any) -> Tensor:
        output = function(*args, **kwargs)
        return output[None, None] if axes == 2 else output[:, None]

    return run


def record(
    model: PreTrainedModel, caller: Callable[..., Any], batch: Batch, recorder: Recorder | None = None
) -> tuple[list[ProbedCall], Any]:
    """Run one eager pass; return its calls that may be attention, and the outputs of the model."""
    recorder, shadow = recorder or Recorder(finder=ProjectionFinder(len(batch.inputs))), Shadow(model)
    finder = recorder.finder
    seeing = intercepted(shadow, recorder, functions=True)
    with torch.inference_mode(), finder.products(), seeing as trace, finder.watch(shadow.model):
        recorder.trace = trace
        outputs = call_model(shadow.of(caller), batch, output_attentions=True)
    projections = recorder.finder.projections
    return [replace(call, projection=projections.get(call.key)) for call in recorder.calls], outputs


def call_model(caller: Callable[..., Any], batch: Batch, all_logits: bool = False, **options: bool) -> Any:
    """Return the outputs of one forward pass, without a cache and with the logits of one token unless all are needed.

    Options that the forward function does not accept are left out; inputs too, unless the user gave them.
    """
    inputs: dict[str, Any] = dict(batch.tensors) if batch.given else accepted_arguments(caller, batch.tensors)
    inputs |= accepted_arguments(caller, canvas_input(caller, inputs))
    # an index, not the number 1: Gemma 4 would compute its last layers for that number of tokens only
    kept = {} if all_logits else {"logits_to_keep": torch.tensor([-1])}
    inputs |= accepted_arguments(caller, {"use_cache": False, **kept})
    parameters = forward_parameters(caller).values()
    has_kwargs = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    return caller(**inputs, **(options if has_kwargs else accepted_arguments(caller, options)))
