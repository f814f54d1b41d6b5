"""From the calls of the probing pass to a plan: which calls are attention over the tokens, of which kind and layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from attncli.capture.gate import refusal
from attncli.capture.naming import call_kind, layer_number, tree_kind
from attncli.capture.plan import Site
from attncli.capture.probe import Seen, agree
from attncli.data import Kind
from attncli.encoding import Batch

Tensor = torch.Tensor
OUTPUTS: dict[str, Kind | None] = {
    "encoder_attentions": "encoder",
    "decoder_attentions": "decoder",
    "cross_attentions": "cross",
    "attentions": None,
}
"""The model's outputs that hold attention, by name; position means nothing."""


@dataclass(frozen=True, eq=False)
class Found:
    """A call or an output that is attention of some kind; `problem` says why it cannot be measured."""

    kind: Kind
    number: int | None
    seen: Seen
    part: Literal["all", "first", "rest"] = "all"
    problem: str = ""


def survey(seen: Sequence[Seen], outputs: Any, batch: Batch, decoder: bool) -> tuple[list[Site], list[tuple[str, str]]]:
    """The sites that can be captured, and the refused ones as (name, reason)."""
    stated = list(_stated(outputs))
    found: list[Found] = []
    for one in _distinct(seen):
        found += _judge(one, batch, stated, decoder)
    found += _only_in_outputs(found, stated, batch, decoder)
    _number(found)
    sites = [_site(one) for one in found if not one.problem]
    return sites, [(one.seen.key[0], one.problem) for one in found if one.problem]


def _stated(outputs: Any) -> Iterator[tuple[str, int, Tensor]]:
    """The maps that the model itself returns: (output name, index, map)."""
    for name in OUTPUTS:
        for index, weights in enumerate(getattr(outputs, name, None) or ()):
            if isinstance(weights, torch.Tensor) and weights.dim() >= 3:
                yield name, index, weights


def _distinct(seen: Sequence[Seen]) -> Iterator[Seen]:
    """Without a module's second call on the same weights (differential attention splits the values in two)."""
    kept: list[Seen] = []
    for one in seen:
        same = (old for old in kept if old.key[0] == one.key[0] and old.key[1] == one.key[1] - 1)
        if any(agree(one.weights, old.weights) for old in same):
            continue
        kept.append(one)
        yield one


def _judge(one: Seen, batch: Batch, stated: list[tuple[str, int, Tensor]], decoder: bool) -> list[Found]:
    """What a call is: nothing of ours, one kind of attention, or two in one softmax."""
    size = len(batch.inputs)
    weights = one.weights
    if weights.dim() == 3 and weights.shape[0] % size == 0:
        weights = weights.reshape(size, -1, *weights.shape[1:])
        if one.visible is not None:
            one = replace(one, visible=one.visible.reshape(weights.shape))
    listed = any(weights.shape == other.shape and agree(weights, other) for _, _, other in stated)
    shaped = weights.dim() == 4 and weights.shape[0] == size
    if one.function == "softmax" and not (listed or (shaped and _is_attention_name(one))):
        return []
    one = replace(one, weights=weights)
    source, target = batch.lengths
    queries, keys = (weights.shape[-2], weights.shape[-1]) if shaped else (0, 0)
    if target is not None and (queries, keys) == (target, target + source):
        number = layer_number(one.stack)
        return [Found("decoder", number, one, "first"), Found("cross", number, one, "rest")]
    kind = call_kind(one.key[0], queries, keys, batch.lengths, _is_causal(one), decoder)
    if not shaped:  # blocks and bands: their shape says nothing of the kind
        kind = tree_kind(one.key[0]) or kind
    found = Found(kind, layer_number(one.stack), one)
    allowed = {(source, source)} if target is None else {(source, source), (target, target), (target, source)}
    if (queries, keys) not in allowed:
        if one.function == "softmax" and not listed:
            return []
        shape = f"{queries} x {keys}" if shaped else " x ".join(map(str, weights.shape))
        return [replace(found, problem=f"its map is {shape}, not one row and column per token ({source})")]
    real = batch.source_mask if queries == source else batch.target_mask
    assert real is not None
    problem = refusal(weights, real, weights.dtype)
    if problem and one.function == "softmax" and not listed:
        return []
    return [replace(found, problem=problem or "")]


def _is_attention_name(one: Seen) -> bool:
    return any("att" in name.rpartition(".")[2].lower() for name in one.stack) or "att" in one.key[0].lower()


def _is_causal(one: Seen) -> bool:
    if one.visible is None or one.visible.shape[-1] < 2:
        return False
    return not bool(torch.triu(one.visible.expand_as(one.weights), diagonal=1).any())


def _only_in_outputs(
    found: list[Found], stated: list[tuple[str, int, Tensor]], batch: Batch, decoder: bool
) -> Iterator[Found]:
    """Maps that the model returns and no call gave: taken from its outputs where they pass the gate.

    Softmax results of the same kind that match no output are given up for them: the model changed them afterwards.
    """
    source, target = batch.lengths
    for name, index, weights in stated:
        if any(weights.shape == one.seen.weights.shape and agree(one.seen.weights, weights) for one in found):
            continue
        stack = (f"{name}.{index}",)
        seen = Seen((name, index), stack, "output", weights, None)
        kind = OUTPUTS[name] or call_kind(name, source, source, batch.lengths, False, decoder)
        rows, columns = {"encoder": (source, source), "cross": (target, source)}.get(kind, (target or source,) * 2)
        if weights.dim() != 4 or tuple(weights.shape[-2:]) != (rows, columns):
            shape = " x ".join(map(str, weights.shape))
            if not any(one.kind == kind for one in found):
                yield Found(kind, index, seen, problem=f"the model returns it as {shape}, not as tokens x tokens")
            continue
        mask = batch.source_mask if kind == "encoder" or target is None else batch.target_mask
        assert mask is not None
        reason = refusal(weights, mask, weights.dtype)
        if reason and not any(one.kind == kind and not one.problem for one in found):
            yield Found(kind, index, seen, problem=reason)
        if not reason:
            found[:] = [one for one in found if one.kind != kind or one.seen.function != "softmax"]
            yield Found(kind, index, seen)


def _number(found: list[Found]) -> None:
    """True layer numbers; where modules are shared or nested and numbers repeat, the place in the order of calls."""
    for kind in {one.kind for one in found}:
        members = [at for at, one in enumerate(found) if one.kind == kind]
        numbers = [found[at].number for at in members]
        if None in numbers or len(set(numbers)) < len(numbers):
            for place, at in enumerate(members):
                found[at] = replace(found[at], number=place)


def _site(one: Found) -> Site:
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
    )
