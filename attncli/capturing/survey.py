"""From probed calls to sites: which calls are attention over the tokens, of which kind and layer, and which are not."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.capturing.probe import ProbedCall, agree
from attncli.capturing.sites import LAYER_PATH, Part, Site, call_kind, layer_number, tree_kind
from attncli.capturing.weights import Layout, as_returned, find_layout, full_rows, weights_problem
from attncli.data import Kind
from attncli.inputs.batches import Batch

Tensor = torch.Tensor
ReturnedMap = tuple[str, int, Tensor]
"""An attention map among the outputs of a model: (name of the output, index in it, map)."""
OUTPUTS: dict[str, Kind | None] = {
    "encoder_attentions": "encoder",
    "decoder_attentions": "decoder",
    "cross_attentions": "cross",
    "attentions": None,
}
"""The outputs that hold attention maps, with their kind. They are read by name: their order differs between models."""
_NO_MIXER = re.compile(r"norm|mlp|moe|feed_?forward|ffn|dropout|router", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class SurveyedCall:
    """A call or an output that is attention of some kind; `problem` says why it cannot be captured, "" if it can."""

    kind: Kind
    layer: int | None
    call: ProbedCall
    part: Part = "all"
    layout: Layout | None = None
    problem: str = ""


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
    for call in _distinct(calls):
        surveyed += _classify(call, batch, returned, model.config)
    surveyed += _unclassified(calls, surveyed, tokens=min(length for length in batch.lengths if length is not None))
    surveyed += _only_in_outputs(surveyed, returned, batch, model.config)
    _renumber_layers(surveyed)
    sites = [_site(attention) for attention in surveyed if not attention.problem]
    refused = [(attention.call.key[0], attention.problem) for attention in surveyed if attention.problem]
    return sites, [*refused, *_attention_free_layers(model, sites, [name for name, _ in refused])]


def _distinct(calls: Sequence[ProbedCall]) -> Iterator[ProbedCall]:
    """Return the calls without repeated ones: differential attention calls twice, for the two halves of the values."""
    kept: list[ProbedCall] = []
    for call in calls:
        name, number = call.key
        if not any(old.key == (name, number - 1) and agree(call.weights, old.weights) for old in kept):
            kept.append(call)
            yield call


def _classify(
    call: ProbedCall, batch: Batch, returned: Sequence[ReturnedMap], config: PreTrainedConfig
) -> list[SurveyedCall]:
    """Return the attention in a call: none, one kind, or two kinds in one softmax."""
    source, target = batch.lengths
    call, layout = _as_rows(call, batch, returned)
    four_axes = call.weights.dim() == 4 and call.weights.shape[0] == len(batch.inputs)
    only_softmax = call.function == "softmax" and not _is_returned(call.weights, returned)
    if only_softmax and not (four_axes and call.owner):
        return []
    queries, keys = call.weights.shape[-2:] if four_axes else (0, 0)
    layer = layer_number(call.stack)
    if target is not None and (queries, keys) == (target, target + source):
        own, cross = call.weights[..., :target], call.weights[..., target:]
        return [
            SurveyedCall("decoder", layer, replace(call, weights=own), "first"),
            SurveyedCall("cross", layer, replace(call, weights=cross), "rest"),
        ]
    # ProphetNet predicts n-grams: its cross-attention has rows for each of them, after those of the main stream
    ngram = getattr(config, "ngram", None)
    streams = 1 + ngram if isinstance(ngram, int) else 1
    if target is not None and streams > 1 and (queries, keys) == (streams * target, source):
        return [SurveyedCall("cross", layer, replace(call, weights=call.weights[:, :, :target]), "main")]
    is_decoder = bool(getattr(config, "is_decoder", False))
    kind = call_kind(call.key[0], queries, keys, batch.lengths, _is_causal(call), is_decoder)
    if not four_axes:  # hashed or pooled attention: its shape does not show the kind
        kind = tree_kind(call.key[0]) or kind
    problem = _shape_or_value_problem(call.weights, batch) if four_axes else _no_tokens(call.weights.shape, source)
    if problem and only_softmax:
        return []
    if call.function == "sdpa" and not call.streamable:
        problem = problem or "its output is not that of the plain formula, and torch's attention shows no weights"
    return [SurveyedCall(kind, layer, call, layout=layout, problem=problem or "")]


def _as_rows(call: ProbedCall, batch: Batch, returned: Sequence[ReturnedMap]) -> tuple[ProbedCall, Layout | None]:
    """Return the call, with weights [batch, head, query, key] if they can be rebuilt, and the layout of its weights."""
    size, source = len(batch.inputs), batch.lengths[0]
    weights, visible = call.weights, call.visible
    if weights.dim() == 3 and weights.shape[0] % size == 0:
        shape = (size, -1, *weights.shape[1:])
        visible = None if visible is None else visible.reshape(shape)
        return replace(call, weights=weights.reshape(shape), visible=visible), None
    layout = find_layout(weights, size, source) if call.function == "softmax" else None
    if layout is None or not _is_returned(as_returned(weights, layout, source), returned):
        return call, None
    visible = None if visible is None else full_rows(visible, layout, 0, source, source)
    return replace(call, weights=full_rows(weights, layout, 0, source, source), visible=visible), layout


def _is_returned(weights: Tensor, returned: Sequence[ReturnedMap]) -> bool:
    return any(agree(weights, attention_map) for _, _, attention_map in returned)


def _shape_or_value_problem(weights: Tensor, batch: Batch) -> str | None:
    """Return why weights [batch, head, query, key] are not attention over the tokens of the batch; None if they are."""
    source, target = batch.lengths
    shape = tuple(weights.shape[-2:])
    if shape not in {(source, source), (target, target), (target, source)}:
        return _no_tokens(shape, source)
    real = batch.source_mask if shape[0] == source else batch.target_mask
    assert real is not None
    return weights_problem(weights, real, weights.dtype)


def _no_tokens(shape: Sequence[int], source: int) -> str:
    return f"its map is {_shape_text(shape)}, not one row and column per token ({source})"


def _shape_text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _is_causal(call: ProbedCall) -> bool:
    if call.visible is None or call.visible.shape[-1] < 2:
        return False
    return not bool(torch.triu(call.visible.expand_as(call.weights), diagonal=1).any())


def _unclassified(calls: Sequence[ProbedCall], surveyed: list[SurveyedCall], tokens: int) -> Iterator[SurveyedCall]:
    """Return a refusal for each attention module whose softmax covers blocks, global tokens or landmarks.

    A softmax over fewer scores than tokens is not attention: it mixes streams, experts or kernels.
    """
    known = {attention.call.owner for attention in surveyed}
    for call in calls:
        owner = call.owner
        if call.function != "softmax" or owner is None or owner in known or call.weights.shape[-1] < tokens:
            continue
        known.add(owner)
        problem = f"its softmax is over {_shape_text(call.weights.shape)} scores, not over one row and column per token"
        yield SurveyedCall(tree_kind(owner) or "encoder", layer_number(call.stack), call, problem=problem)


def _only_in_outputs(
    surveyed: list[SurveyedCall], returned: Sequence[ReturnedMap], batch: Batch, config: PreTrainedConfig
) -> Iterator[SurveyedCall]:
    """Return the maps that only the outputs of the model hold.

    They replace softmax calls of the same kind in `surveyed`: the model changed those weights afterwards.
    """
    source, target = batch.lengths
    is_decoder = bool(getattr(config, "is_decoder", False))
    for name, index, weights in returned:
        if any(agree(attention.call.weights, weights) for attention in surveyed):
            continue
        call = ProbedCall((name, index), (f"{name}.{index}",), None, "output", weights, None)
        kind = OUTPUTS[name] or call_kind(name, source, source, batch.lengths, False, is_decoder)
        of_kind = [attention for attention in surveyed if attention.kind == kind]
        shape = {"encoder": (source, source), "cross": (target, source)}.get(kind, (target or source,) * 2)
        if weights.dim() != 4 or tuple(weights.shape[-2:]) != shape:
            if not of_kind:
                problem = f"the model returns it as {_shape_text(weights.shape)}, not as tokens x tokens"
                yield SurveyedCall(kind, index, call, problem=problem)
            continue
        reason = _shape_or_value_problem(weights, batch)
        if reason and all(attention.problem for attention in of_kind):
            yield SurveyedCall(kind, index, call, problem=reason)
        if not reason:
            surveyed[:] = [
                attention for attention in surveyed if attention.kind != kind or attention.call.function != "softmax"
            ]
            yield SurveyedCall(kind, index, call)


def _renumber_layers(surveyed: list[SurveyedCall]) -> None:
    """Set layer numbers to the order of calls in each kind whose names lack or repeat a number (shared modules)."""
    for kind in {attention.kind for attention in surveyed}:
        members = [index for index, attention in enumerate(surveyed) if attention.kind == kind]
        layers = [surveyed[index].layer for index in members if not surveyed[index].problem]
        if None in layers or len(set(layers)) < len(layers):
            for layer, index in enumerate(members):
                surveyed[index] = replace(surveyed[index], layer=layer)


def _site(attention: SurveyedCall) -> Site:
    assert attention.layer is not None
    call = attention.call
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
        layout=attention.layout,
        dim=call.dim,
        projection=call.projection,
    )


def _attention_free_layers(
    model: nn.Module, sites: Sequence[Site], refused: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Return the state-space, linear or convolutional layers of a hybrid model, as (layer names, reason).

    They made no attention call, in stacks where other layers made one. `refused` are names of modules whose attention
    is refused: their layers do have attention.
    """
    for stack in dict.fromkeys(match[1] for site in sites if (match := LAYER_PATH.match(site.name))):
        layers = model.get_submodule(stack)
        if not isinstance(layers, nn.ModuleList):
            continue
        in_stack = [site for site in sites if site.name.startswith(f"{stack}.")]
        with_attention = {site.layer for site in in_stack}
        for name in (*(site.name for site in in_stack), *refused):
            if (match := LAYER_PATH.match(name)) and match[1] == stack:
                with_attention.add(int(match[2]))
        numbers_by_class: dict[str, list[int]] = {}
        for number, layer in enumerate(layers):
            if number not in with_attention:
                numbers_by_class.setdefault(_mixer_class(layer), []).append(number)
        for mixer, numbers in numbers_by_class.items():
            yield f"{stack}.{','.join(map(str, numbers))}", f"{mixer} has no softmax attention"


def _mixer_class(layer: nn.Module) -> str:
    """Return the class name of the module that mixes tokens: the first one that is neither norm nor feed-forward."""
    parts = (part for name, part in layer.named_children() if not _NO_MIXER.search(f"{name} {type(part).__name__}"))
    return type(next(parts, layer)).__name__
