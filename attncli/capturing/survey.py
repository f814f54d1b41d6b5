"""From probed calls to sites: which calls are attention over the tokens, of which kind and layer, and which are not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from attncli.capturing.attention_free import attention_free_layers
from attncli.capturing.chunks import chunk_width
from attncli.capturing.modalities import other_input
from attncli.capturing.probe import ProbedCall, agree
from attncli.capturing.scales import scale_of
from attncli.capturing.sites import Part, Site, block_sparse_advice, call_kind, layer_number, tree_kind
from attncli.capturing.stored_rows import ReturnedMap, Stored, as_rows, is_returned
from attncli.capturing.weights import weights_problem
from attncli.data import Kind, base_kind
from attncli.inputs.batches import Batch

Tensor = torch.Tensor
OUTPUTS: dict[str, Kind | None] = {
    "encoder_attentions": "encoder",
    "decoder_attentions": "decoder",
    "cross_attentions": "cross",
    "attentions": None,
}
"""The outputs that hold attention maps, with their kind. They are read by name: their order differs between models."""


@dataclass(frozen=True, eq=False)
class SurveyedCall:
    """A call or an output that is attention of some kind; `problem` says why it cannot be captured, "" if it can."""

    kind: Kind
    layer: int | None
    call: ProbedCall
    part: Part = "all"
    stored: Stored | None = None
    problem: str = ""

    def has_weights(self, returned: Tensor) -> bool:
        """Return whether a map among the outputs of the model holds the weights of this call."""
        return agree(self.call.weights, returned) or bool(self.stored and agree(self.stored.returned, returned))


def survey(
    calls: Sequence[ProbedCall], outputs: object, batch: Batch, model: PreTrainedModel
) -> tuple[list[Site], list[tuple[str, str]]]:
    """Return the sites that can be captured; and the calls and layers that cannot, as (name, reason)."""
    returned = [
        (name, index, weights)
        for name in OUTPUTS
        for index, weights in enumerate(getattr(outputs, name, None) or ())
        if isinstance(weights, torch.Tensor) and weights.dim() >= 3
    ]
    surveyed: list[SurveyedCall] = []
    for call in distinct_calls(calls):
        if call.key[1] and chunk_width(model, call.key[0]):
            continue  # a part of the first call of its module
        rows, stored = as_rows(call, calls, batch, returned, model)
        surveyed += _classify(rows, stored, batch, returned, model)
    surveyed += _unclassified(calls, surveyed, batch, block_sparse_advice(model.config))
    surveyed += _only_in_outputs(surveyed, returned, batch, model)
    renumber_layers(surveyed)
    sites = [site_of(attention) for attention in surveyed if not attention.problem]
    refused = [(attention.call.key[0], attention.problem) for attention in surveyed if attention.problem]
    free = attention_free_layers(model, sites, [name for name, _ in refused])
    return sites, [*refused, *free, *_not_found(returned, surveyed)]


def distinct_calls(calls: Sequence[ProbedCall]) -> Iterator[ProbedCall]:
    """Return the calls without those that repeat the last call of their module with the same inputs.

    Differential attention calls twice, for the two halves of the values.
    """
    last: dict[str, ProbedCall] = {}
    for call in calls:
        old = last.get(call.key[0])
        if old is None or not (call.has_inputs_of(old) and agree(call.weights, old.weights)):
            yield call
        last[call.key[0]] = call


def _classify(
    call: ProbedCall, stored: Stored | None, batch: Batch, returned: Sequence[ReturnedMap], model: PreTrainedModel
) -> list[SurveyedCall]:
    """Return the attention in a call: none, one kind, or two kinds in one softmax."""
    source, target = batch.lengths
    four_axes = call.weights.dim() == 4 and call.weights.shape[0] == len(batch.inputs)
    only_softmax = call.function == "softmax" and not stored and not is_returned(call.weights, returned)
    if only_softmax and not (four_axes and call.owner):
        return []
    queries, keys = call.weights.shape[-2:] if four_axes else (0, 0)
    layer = layer_number(call.stack)
    scale = scale_of(model, call.key)
    if scale is not None and (queries, keys) == scale.shape(source):
        real = torch.ones((len(batch.inputs), queries), dtype=torch.bool, device=call.weights.device)
        wrong = weights_problem(call.weights, real, model.dtype) or ""
        return [SurveyedCall(scale.kind, layer, call, stored=stored, problem=wrong)]
    if target is not None and (queries, keys) == (target, target + source):
        own, cross = call.weights[..., :target], call.weights[..., target:]
        return [
            SurveyedCall("decoder", layer, replace(call, weights=own), "first"),
            SurveyedCall("cross", layer, replace(call, weights=cross), "rest"),
        ]
    # ProphetNet predicts n-grams: its cross-attention has rows for each of them, after those of the main stream
    ngram = getattr(model.config, "ngram", None)
    streams = 1 + ngram if isinstance(ngram, int) else 1
    has_streams = streams > 1 and tree_kind(call.key[0]) == "cross"
    if target is not None and has_streams and (queries, keys) == (streams * target, source):
        return [SurveyedCall("cross", layer, replace(call, weights=call.weights[:, :, :target]), "main")]
    is_decoder = bool(getattr(model.config, "is_decoder", False))
    kind = call_kind(call.key[0], queries, keys, batch.lengths, causal_call(call), is_decoder)
    if not four_axes:  # hashed or pooled attention: its shape does not show the kind
        kind = tree_kind(call.key[0]) or kind
    if not_text := other_input(model, call.stack):
        problem = f"it reads {not_text}, not the tokens of the text"
    elif four_axes:
        problem = _shape_or_value_problem(call.weights, batch, model.dtype) or ""
    else:
        problem = _no_tokens(call.weights.shape, source)
    if kind == "cross" and target is None:  # as many keys as tokens, by chance
        problem = problem or "its keys are not the tokens of the text"
    if problem and only_softmax:
        return []
    if call.function == "sdpa" and not call.streamable:
        problem = problem or "its output is not that of the plain formula, and torch's attention shows no weights"
    return [SurveyedCall(kind, layer, call, stored=stored, problem=problem)]


def _shape_or_value_problem(weights: Tensor, batch: Batch, dtype: torch.dtype) -> str | None:
    """Return why weights [batch, head, query, key] are not attention over the tokens of the batch; None if they are."""
    source, target = batch.lengths
    shape = tuple(weights.shape[-2:])
    if shape not in {(source, source), (target, target), (target, source)}:
        return _no_tokens(shape, source)
    real = batch.source_mask if shape[0] == source else batch.target_mask
    assert real is not None
    return weights_problem(weights, real, dtype)


def _no_tokens(shape: Sequence[int], source: int) -> str:
    return f"its map is {shape_text(shape)}, not one row and column per token ({source})"


def shape_text(shape: Sequence[int]) -> str:
    """Return the sizes of a tensor with crosses between them."""
    return " x ".join(map(str, shape))


def causal_call(call: ProbedCall) -> bool:
    """Return whether no row of a call sees a later key."""
    if call.visible is None or call.visible.shape[-1] < 2:
        return False
    return not bool(torch.triu(call.visible.expand_as(call.weights), diagonal=1).any())


def _unclassified(
    calls: Sequence[ProbedCall], surveyed: list[SurveyedCall], batch: Batch, advice: str
) -> Iterator[SurveyedCall]:
    """Return a refusal for each attention module whose softmax covers blocks, global tokens or landmarks.

    A softmax over fewer scores than tokens is not attention: it mixes streams, experts or kernels.
    """
    known = {attention.call.owner for attention in surveyed}
    tokens = min(length for length in batch.lengths if length is not None)
    for call in calls:
        owner = call.owner
        if call.function != "softmax" or owner is None or owner in known or call.weights.shape[-1] < tokens:
            continue
        known.add(owner)
        shape, kind = shape_text(call.weights.shape), tree_kind(owner) or "encoder"
        problem = f"its softmax is over {shape} scores, not over one row and column per token{advice}"
        yield SurveyedCall(kind, layer_number(call.stack), call, problem=problem)


def _only_in_outputs(
    surveyed: list[SurveyedCall], returned: Sequence[ReturnedMap], batch: Batch, model: PreTrainedModel
) -> Iterator[SurveyedCall]:
    """Return the maps that only the outputs of the model hold.

    They replace softmax calls of the same kind in `surveyed`: the model changed those weights afterwards.
    """
    source, target = batch.lengths
    is_decoder = bool(getattr(model.config, "is_decoder", False))
    for name, index, weights in returned:
        if any(attention.call.function != "output" and attention.has_weights(weights) for attention in surveyed):
            continue
        call = ProbedCall((name, index), (f"{name}.{index}",), None, "output", (weights,), weights, None)
        kind = OUTPUTS[name] or call_kind(name, source, source, batch.lengths, False, is_decoder)
        of_kind = [attention for attention in surveyed if attention.kind == kind]
        shape = {"encoder": (source, source), "cross": (target, source)}.get(kind, (target or source,) * 2)
        if weights.dim() != 4 or tuple(weights.shape[-2:]) != shape:
            if not of_kind:
                problem = f"the model returns it as {shape_text(weights.shape)}, not as tokens x tokens"
                yield SurveyedCall(kind, index, call, problem=problem)
            continue
        reason = _shape_or_value_problem(weights, batch, model.dtype)
        if advice := block_sparse_advice(model.config):  # BigBird overwrites weights where random blocks meet others
            reason = f"the model returns its rows over blocks of keys without some of their weights{advice}"
        if reason and all(attention.problem for attention in of_kind):
            yield SurveyedCall(kind, index, call, problem=reason)
        if not reason:
            surveyed[:] = [
                attention for attention in surveyed if attention.kind != kind or attention.call.function != "softmax"
            ]
            yield SurveyedCall(kind, index, call)


def _not_found(returned: Sequence[ReturnedMap], surveyed: Sequence[SurveyedCall]) -> Iterator[tuple[str, str]]:
    """Return which outputs of the model hold more maps than attention calls were found, as (output, reason)."""
    for name, kind in OUTPUTS.items():
        maps = sum(output == name for output, _, _ in returned)
        calls = sum(kind in (None, base_kind(attention.kind)) for attention in surveyed)
        if maps > calls:
            yield f"{maps - calls} of {maps} {name}", f"only {calls} attention calls of the model were found"


def renumber_layers(surveyed: list[SurveyedCall]) -> None:
    """Set layer numbers to the order of calls in each kind whose names lack or repeat a number (shared modules).

    A kind and its scales are numbered as one.
    """
    for kind in {base_kind(attention.kind) for attention in surveyed}:
        members = [index for index, attention in enumerate(surveyed) if base_kind(attention.kind) == kind]
        layers = [surveyed[index].layer for index in members if not surveyed[index].problem]
        if None in layers or len(set(layers)) < len(layers):
            for layer, index in enumerate(members):
                surveyed[index] = replace(surveyed[index], layer=layer)


def site_of(attention: SurveyedCall) -> Site:
    """Return how a call without a problem is captured."""
    assert attention.layer is not None
    call, stored = attention.call, attention.stored
    return Site(
        kind=attention.kind,
        layer=attention.layer,
        heads=call.weights.shape[1],
        kv_heads=call.kv_heads,
        name=call.key[0],
        key=call.key,
        route="stream" if call.streamable else "eager",
        function=call.function,
        part=attention.part,
        layout=stored.layout if stored else None,
        width=stored.width if stored else 0,
        dim=call.dim,
        projection=call.projection,
    )
