"""From the calls of the probing pass to a plan: which calls are attention over the tokens, of which kind and layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from attncli.capturing.bands import Layout, as_returned, layout_of, unfold
from attncli.capturing.gate import refusal
from attncli.capturing.naming import call_kind, layer_number, tree_kind
from attncli.capturing.plan import Part, Site
from attncli.capturing.probe import ProbedCall, agree
from attncli.data import Kind
from attncli.inputs.batches import Batch

Tensor = torch.Tensor
OUTPUTS: dict[str, Kind | None] = {
    "encoder_attentions": "encoder",
    "decoder_attentions": "decoder",
    "cross_attentions": "cross",
    "attentions": None,
}
"""The model's outputs that hold attention, by name; position means nothing."""


@dataclass(frozen=True)
class ModelFacts:
    """What the configuration says of a model's stacks.

    decoder  the only stack is declared a decoder
    streams  rows that the decoder's cross-attention has per token: ProphetNet foretells n-grams in rows of their own,
             after those of the main stream
    """

    decoder: bool
    streams: int

    @classmethod
    def of(cls, config: Any) -> ModelFacts:
        """Read off a configuration."""
        ngram = getattr(config, "ngram", None)
        return cls(bool(getattr(config, "is_decoder", False)), 1 + ngram if isinstance(ngram, int) else 1)


@dataclass(frozen=True, eq=False)
class SurveyedCall:
    """A call or an output that is attention of some kind; `problem` says why it cannot be measured."""

    kind: Kind
    number: int | None
    seen: ProbedCall
    part: Part = "all"
    layout: Layout | None = None
    problem: str = ""


def survey(
    seen: Sequence[ProbedCall], outputs: Any, batch: Batch, facts: ModelFacts
) -> tuple[list[Site], list[tuple[str, str]]]:
    """The sites that can be captured, and the refused ones as (name, reason)."""
    stated = list(_stated(outputs))
    found: list[SurveyedCall] = []
    for one in _distinct(seen):
        found += _judge(one, batch, stated, facts)
    found += _left_over(seen, found, tokens=min(length for length in batch.lengths if length is not None))
    found += _only_in_outputs(found, stated, batch, facts)
    _number(found)
    sites = [_site(one) for one in found if not one.problem]
    return sites, [(one.seen.key[0], one.problem) for one in found if one.problem]


def _stated(outputs: Any) -> Iterator[tuple[str, int, Tensor]]:
    """The maps that the model itself returns: (output name, index, map)."""
    for name in OUTPUTS:
        for index, weights in enumerate(getattr(outputs, name, None) or ()):
            if isinstance(weights, torch.Tensor) and weights.dim() >= 3:
                yield name, index, weights


def _distinct(seen: Sequence[ProbedCall]) -> Iterator[ProbedCall]:
    """Without a module's second call on the same weights (differential attention splits the values in two)."""
    kept: list[ProbedCall] = []
    for one in seen:
        same = (old for old in kept if old.key[0] == one.key[0] and old.key[1] == one.key[1] - 1)
        if any(agree(one.weights, old.weights) for old in same):
            continue
        kept.append(one)
        yield one


def _judge(
    one: ProbedCall, batch: Batch, stated: list[tuple[str, int, Tensor]], facts: ModelFacts
) -> list[SurveyedCall]:
    """What a call is: nothing of ours, one kind of attention, or two in one softmax."""
    source, target = batch.lengths
    one, layout = _straight(one, batch, stated)
    listed = any(_equal(one.weights, other) for _, _, other in stated)
    shaped = one.weights.dim() == 4 and one.weights.shape[0] == len(batch.inputs)
    own_softmax = one.function == "softmax" and not listed
    if own_softmax and not (shaped and one.owner):
        return []
    queries, keys = one.weights.shape[-2:] if shaped else (0, 0)
    number = layer_number(one.stack)
    if target is not None and (queries, keys) == (target, target + source):
        own, other = one.weights[..., :target], one.weights[..., target:]
        return [
            SurveyedCall("decoder", number, replace(one, weights=own), "first"),
            SurveyedCall("cross", number, replace(one, weights=other), "rest"),
        ]
    if target is not None and facts.streams > 1 and (queries, keys) == (facts.streams * target, source):
        return [SurveyedCall("cross", number, replace(one, weights=one.weights[:, :, :target]), "main")]
    kind = call_kind(one.key[0], queries, keys, batch.lengths, _is_causal(one), facts.decoder)
    if not shaped:  # hashed or pooled: their shape says nothing of the kind
        kind = tree_kind(one.key[0]) or kind
    problem = _problem(one.weights, batch) if shaped else _not_tokens(one.weights.shape, source)
    if problem and own_softmax:
        return []
    if one.function == "sdpa" and not one.streams:
        problem = problem or "its output is not that of the plain formula, and torch's attention shows no weights"
    return [SurveyedCall(kind, number, one, layout=layout, problem=problem or "")]


def _straight(one: ProbedCall, batch: Batch, stated: list[tuple[str, int, Tensor]]) -> tuple[ProbedCall, Layout | None]:
    """The call with its weights as [batch, head, query, key] where they can be put so, and how they were kept."""
    size, source = len(batch.inputs), batch.lengths[0]
    weights, visible = one.weights, one.visible
    if weights.dim() == 3 and weights.shape[0] % size == 0:
        shape = (size, -1, *weights.shape[1:])
        return replace(one, weights=weights.reshape(shape), visible=_reshaped(visible, shape)), None
    layout = layout_of(weights, size, source) if one.function == "softmax" else None
    if layout is None or not any(_equal(as_returned(weights, layout, source), other) for _, _, other in stated):
        return one, None
    seen = None if visible is None else unfold(visible, layout, 0, source, source)
    return replace(one, weights=unfold(weights, layout, 0, source, source), visible=seen), layout


def _reshaped(visible: Tensor | None, shape: Sequence[int]) -> Tensor | None:
    return None if visible is None else visible.reshape(tuple(shape))


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and agree(one, other)


def _problem(weights: Tensor, batch: Batch) -> str | None:
    """Why weights [batch, head, query, key] are none over the tokens of the batch."""
    source, target = batch.lengths
    shape = tuple(weights.shape[-2:])
    if shape not in {(source, source), (target, target), (target, source)}:
        return _not_tokens(shape, source)
    real = batch.source_mask if shape[0] == source else batch.target_mask
    assert real is not None
    return refusal(weights, real, weights.dtype)


def _not_tokens(shape: Sequence[int], source: int) -> str:
    return f"its map is {' x '.join(map(str, shape))}, not one row and column per token ({source})"


def _is_causal(one: ProbedCall) -> bool:
    if one.visible is None or one.visible.shape[-1] < 2:
        return False
    return not bool(torch.triu(one.visible.expand_as(one.weights), diagonal=1).any())


def _only_in_outputs(
    found: list[SurveyedCall], stated: list[tuple[str, int, Tensor]], batch: Batch, facts: ModelFacts
) -> Iterator[SurveyedCall]:
    """Maps that the model returns and no call gave: taken from its outputs where they pass the gate.

    Softmax results of the same kind that match no output are given up for them: the model changed them afterwards.
    """
    source, target = batch.lengths
    for name, index, weights in stated:
        if any(_equal(one.seen.weights, weights) for one in found):
            continue
        stack = (f"{name}.{index}",)
        seen = ProbedCall((name, index), stack, None, "output", weights, None)
        kind = OUTPUTS[name] or call_kind(name, source, source, batch.lengths, False, facts.decoder)
        rows, columns = {"encoder": (source, source), "cross": (target, source)}.get(kind, (target or source,) * 2)
        if weights.dim() != 4 or tuple(weights.shape[-2:]) != (rows, columns):
            shape = " x ".join(map(str, weights.shape))
            if not any(one.kind == kind for one in found):
                yield SurveyedCall(
                    kind, index, seen, problem=f"the model returns it as {shape}, not as tokens x tokens"
                )
            continue
        mask = batch.source_mask if kind == "encoder" or target is None else batch.target_mask
        assert mask is not None
        reason = refusal(weights, mask, weights.dtype)
        if reason and not any(one.kind == kind and not one.problem for one in found):
            yield SurveyedCall(kind, index, seen, problem=reason)
        if not reason:
            found[:] = [one for one in found if one.kind != kind or one.seen.function != "softmax"]
            yield SurveyedCall(kind, index, seen)


def _left_over(seen: Sequence[ProbedCall], found: list[SurveyedCall], tokens: int) -> Iterator[SurveyedCall]:
    """Attention modules whose softmax is over blocks, global tokens or landmarks: refused by name, never silent.

    A softmax over less than the tokens mixes something else: streams, experts, kernels.
    """
    known = {one.seen.owner for one in found}
    for one in seen:
        if one.function != "softmax" or one.owner is None or one.owner in known or one.weights.shape[-1] < tokens:
            continue
        known.add(one.owner)
        shape = " x ".join(map(str, one.weights.shape))
        problem = f"its softmax is over {shape} scores, not over one row and column per token"
        yield SurveyedCall(tree_kind(one.owner) or "encoder", layer_number(one.stack), one, problem=problem)


def _number(found: list[SurveyedCall]) -> None:
    """True layer numbers; where modules are shared or nested and numbers repeat, the place in the order of calls."""
    for kind in {one.kind for one in found}:
        members = [at for at, one in enumerate(found) if one.kind == kind]
        numbers = [found[at].number for at in members if not found[at].problem]
        if None in numbers or len(set(numbers)) < len(numbers):
            for place, at in enumerate(members):
                found[at] = replace(found[at], number=place)


def _site(one: SurveyedCall) -> Site:
    assert one.number is not None
    return Site(
        kind=one.kind,
        layer=one.number,
        heads=one.seen.weights.shape[1],
        kv_heads=one.seen.kv_heads,
        name=one.seen.key[0],
        key=one.seen.key,
        how="stream" if one.seen.streams else "eager",
        function=one.seen.function,
        part=one.part,
        layout=one.layout,
        dim=one.seen.dim,
        projects=one.seen.projects,
    )
