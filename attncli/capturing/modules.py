"""Planning of a capture of a module that is no Transformers model: its calls, their kinds, and what their rows are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from attncli.capturing.capture import choose_route
from attncli.capturing.probe import ProbedCall, Recorder, record
from attncli.capturing.sites import CapturePlan, call_kind, layer_number, tree_kind
from attncli.capturing.survey import SurveyedCall, causal_call, distinct_calls, renumber_layers, shape_text, site_of
from attncli.capturing.weights import weights_problem
from attncli.data import Kind, has_scale, kind_order
from attncli.errors import ModelError, UsageError, is_out_of_memory
from attncli.inputs.batches import Batch
from attncli.models import LoadedModule
from attncli.models.load_errors import first_line

Tensor = torch.Tensor
ONE = "capture one text at a time"


@dataclass(frozen=True, eq=False)
class ModuleAxes:
    """What the maps of a module are over.

    batch    number of texts
    lengths  rows and keys of each kind
    padding  [text, position] bool of each number of positions: those that a mask among the inputs takes away
    extra    names of the keys that a module adds after those of its input, by kind
    """

    batch: int
    lengths: Mapping[Kind, tuple[int, int]]
    padding: Mapping[int, Tensor]
    extra: Mapping[Kind, tuple[str, ...]]


def plan_module(
    loaded: LoadedModule, tensors: Mapping[str, Tensor], route: str, named: Sequence[int]
) -> tuple[CapturePlan, ModuleAxes]:
    """Return how the attention of a module on these inputs is captured, found by one pass, and what its maps are over.

    named  the numbers of names that the user gave: of rows and of keys
    Raise ModelError if the module fails, or has no softmax attention.
    """
    recorder = Recorder()
    mask = torch.ones((1, 1), dtype=torch.bool, device=loaded.device)
    try:
        calls, _ = record(loaded.model, loaded.model, Batch((), tensors, mask, given=True), recorder)
    except (ModelError, UsageError):
        raise
    except Exception as error:  # the forward pass of any module
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{loaded.name} fails on these inputs: {_failure(loaded, tensors, error)}") from error
    evidence = recorder.finder.evidence
    calls = [call for call in calls if call.function != "softmax" or call.key in evidence.scored | evidence.multiplied]
    batch = _batch_size(calls, tensors)
    surveyed = [_surveyed(call, batch, evidence.scored, evidence.multiplied) for call in distinct_calls(calls)]
    surveyed, lengths = _with_kinds(surveyed, named)
    renumber_layers(surveyed)
    refused = tuple((call.call.key[0] or loaded.name, call.problem) for call in surveyed if call.problem)
    sites = [site_of(call) for call in surveyed if not call.problem]
    if not sites:
        problem = (
            f"has no softmax attention that can be measured: {': '.join(refused[0])}"
            if refused
            else (
                "has no softmax attention: nothing to capture. It may have none, compute it without torch's softmax, "
                "matrix products and scaled_dot_product_attention, or not run it on these inputs"
            )
        )
        raise ModelError(f"{loaded.name} {problem}")
    chosen, reason, sites = choose_route(loaded, route, sites)
    kept = [call for call in surveyed if not call.problem]
    extra = {call.kind: call.call.composed.extra for call in kept if call.call.composed}
    axes = ModuleAxes(batch, lengths, _padding(kept, lengths, tensors), extra)
    return CapturePlan(chosen, reason, 0, tuple(sites), refused), axes


def _batch_size(calls: Sequence[ProbedCall], tensors: Mapping[str, Tensor]) -> int:
    """Return the number of texts: the first axis of attention that is an axis of an input, or 1 without a batch.

    The second axis counts if torch's own module says so, or if windows of the first could not look the same. Weights
    with texts and heads on one axis do not show it: then it is the axis of an input that is not that of positions.
    """
    shapes = [tuple(tensor.shape) for tensor in tensors.values() if tensor.dim() > 1]
    sure = {len(call.weights) // call.composed.heads for call in calls if call.composed and call.weights.dim() == 3}
    sure |= {len(call.weights) for call in calls if call.composed and call.weights.dim() == 4}
    rows = {len(call.weights): call.weights.shape[2] for call in calls if call.weights.dim() == 4}
    known = sure | set(rows)
    positions = {size for call in calls if call.weights.dim() < 4 for size in call.weights.shape[-2:]}
    for first, second, *others in shapes:
        if first in known:
            return first
        apart = rows.get(second) == first and second % first != 0
        if len(others) < 2 and (second in sure or (second in known and apart)):
            return second
    for first, second, *others in () if known else shapes:
        if len(others) > 1 or second in positions:
            return first
        if first in positions:
            return second if others else 1
    return shapes[0][0] if shapes and 1 not in known else 1


def _surveyed(call: ProbedCall, batch: int, scored: Iterable[Any], multiplied: Iterable[Any]) -> SurveyedCall:
    """Return a call with weights [batch, head, query, key], or with the reason why it cannot be captured."""
    weights, visible, problem = call.weights, call.visible, ""
    heads = call.composed.heads if call.composed else None
    if weights.dim() < 4:
        joined = 1 if weights.dim() == 2 else len(weights)
        if joined % batch or (heads is not None and joined != batch * heads):
            problem = (
                f"its map is {shape_text(weights.shape)}, which is not one for each of {batch} texts and its heads"
            )
        elif heads is None and joined > batch > 1:
            problem = (
                f"its first axis joins {batch} texts and {joined // batch} heads in an order that is not known: {ONE}"
            )
        else:
            shape = batch, -1, *weights.shape[-2:]
            weights = weights.reshape(shape)
            visible = None if visible is None else visible.reshape(shape)
    elif weights.dim() > 4 or weights.shape[0] != batch:
        problem = f"its map is {shape_text(weights.shape)}, not {batch} x heads x rows x keys: it attends inside parts"
    if call.function in ("softmax", "sdpa") and not problem and not bool(weights.isfinite().any()):
        problem = "all its weights are NaN: its inputs, or parameters of the module, are NaN or infinite"
    if call.function == "softmax" and not problem:
        if not bool(weights.isfinite().all()):
            problem = "its weights are not finite: a row whose keys are all masked has no softmax"
        elif call.key not in multiplied:
            problem = "its weights are changed, or not multiplied by values with matmul, bmm or einsum"
        elif call.key not in scored:
            problem = "its scores are not the product of queries and keys"
    if call.function == "sdpa" and not call.streamable and not problem:
        problem = "its output is not that of the plain formula, as with dropout, and torch's attention shows no weights"
    call = replace(call, weights=weights, visible=visible)
    return SurveyedCall("encoder", layer_number(call.stack), call, problem=problem or _value_problem(call))


def _value_problem(call: ProbedCall) -> str:
    """Return why the numbers of a call are no attention weights; "" if they are."""
    real = torch.ones(call.weights.shape[::2][:2], dtype=torch.bool, device=call.weights.device)
    if problem := weights_problem(call.weights, real, call.weights.dtype):
        return problem
    total = call.weights.sum(-1, dtype=torch.float64)
    if call.function == "softmax" and float((total - 1).abs().max()) > 1e-2:
        return "its rows do not sum to 1: it is a softmax over another axis"
    return ""


def _with_kinds(
    surveyed: Sequence[SurveyedCall], named: Sequence[int]
) -> tuple[list[SurveyedCall], dict[Kind, tuple[int, int]]]:
    """Return the calls with their kinds, and the numbers of rows and keys of each kind.

    The most frequent shape gives the kinds encoder, decoder and cross; other shapes give kinds with a scale.
    """
    fine = [call.call for call in surveyed if not call.problem]
    shapes = Counter((tuple(call.weights.shape[-2:]), _is_cross(call)) for call in fine)
    ranked = sorted(shapes, key=lambda item: (item[0] != tuple(named), item[0][0] not in named, -shapes[item]))
    crossing = next((shape for shape, cross in ranked if cross), None)
    own = next((shape for shape, cross in ranked if not cross and shape[0] == shape[1]), None)
    target, source = crossing or (None, own[0] if own else 0)
    result, lengths = [], dict[Kind, tuple[int, int]]()
    for call in surveyed:
        if not call.problem:
            rows, keys = call.call.weights.shape[-2:]
            shape = rows, keys
            kind = _kind(call.call, shape, source, target)
            call, lengths[kind] = replace(call, kind=kind), shape
        result.append(call)
    return result, lengths


def _is_cross(call: ProbedCall) -> bool:
    """Return whether keys come from elsewhere than queries, by what torch was given, by their number, or by a name."""
    if call.composed:
        return not call.composed.own
    rows, keys = call.weights.shape[-2:]
    return rows != keys or tree_kind(call.key[0]) == "cross"


def _kind(call: ProbedCall, shape: tuple[int, int], source: int, target: int | None) -> Kind:
    causal = causal_call(call)
    if _is_cross(call):
        return "cross" if shape == (target, source) else f"cross-{shape[0]}x{shape[1]}"
    base = "decoder" if causal else "encoder"
    if shape not in {(source, source), (target, target)}:
        return f"{base}-{shape[0]}x{shape[1]}"
    if target is None:
        return base
    kind = call_kind(call.key[0], *shape, (source, target), causal, False)
    return base if kind == "cross" else kind


def _padding(
    calls: Sequence[SurveyedCall], lengths: Mapping[Kind, tuple[int, int]], tensors: Mapping[str, Tensor]
) -> dict[int, Tensor]:
    """Return, for each number of positions, which keys no row sees, if a mask among the inputs says just that."""
    hidden: dict[int, Tensor] = {}
    for kind in sorted({call.kind for call in calls if not has_scale(call.kind)}, key=kind_order):
        for call in (call.call for call in calls if call.kind == kind):
            keys = lengths[kind][1]
            unseen = torch.zeros((len(call.weights), keys), dtype=torch.bool, device=call.weights.device)
            if call.visible is not None:
                unseen = ~call.visible.expand_as(call.weights).flatten(1, 2).any(1)
            hidden[keys] = hidden[keys] & unseen if keys in hidden else unseen
    masks = [tensor for tensor in tensors.values() if tensor.dim() in (1, 2)]
    return {
        keys: unseen.cpu()
        for keys, unseen in hidden.items()
        if bool(unseen.any()) and any(_says(mask, unseen) for mask in masks)
    }


def _says(mask: Tensor, hidden: Tensor) -> bool:
    """Return whether a mask, 1 for tokens or for padding or minus infinity for padding, hides just these positions."""
    if mask.numel() != hidden.numel():
        return False
    mask = mask.reshape(hidden.shape).to(hidden.device)
    forms = [mask < -1e4] if mask.is_floating_point() else []
    if bool(((mask == 0) | (mask == 1)).all()):
        forms += [mask == 0, mask == 1]
    return any(bool(torch.equal(form, hidden)) for form in forms)


def _failure(loaded: LoadedModule, tensors: Mapping[str, Tensor], error: Exception) -> str:
    """Return one line about a failed forward pass, with its likely cause if one is known."""
    line, dtype = first_line(error)[:200], loaded.model.dtype
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype != dtype and ("dtype" in line or "type" in line):
            names = [str(kind).removeprefix("torch.") for kind in (tensor.dtype, dtype)]
            return f"{line}; {name} is {names[0]}, the weights are {names[1]}: give the inputs as {names[1]}"
    return f"{line}{loaded.model.hint}"
