"""Maps that are already there: choose among them and combine them as a pass over a model would have done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attncli.data import Attention, LayerMaps, Selection
from attncli.data.selection import Choice, resolve
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.stream.special_tokens import drop_special
from attncli.stream.words import to_words


def reshape(maps: Sequence[Attention], request: Request, where: str) -> tuple[Attention, ...]:
    """Choose and combine kept maps; what they do not or no longer hold is a `UsageError`."""
    _check_by(maps, request, where)
    chosen = _chosen(maps, request.choice, where)
    return tuple(_combined(_as_read(attention, request), request) for attention in chosen)


def check_weights(maps: Sequence[Attention]) -> None:
    """A `UsageError` where maps are no weights."""
    if any(attention.by == "norm" for attention in maps):
        raise UsageError(
            "this is of attention weights, these maps are value-weighted norms (heatmap, stats, rollout and flow take "
            "them): run the model without by='norm'"
        )


def _check_by(maps: Sequence[Attention], request: Request, where: str) -> None:
    """A `UsageError` where weights would be taken for norms, or norms for weights."""
    held = {attention.by for attention in maps} - {request.by}
    if "weight" in held:
        raise UsageError(
            f"{where} holds weights, from which no norms can be made: run the model again with --by norm --save-maps"
        )
    if held:
        raise UsageError(
            f"{where} holds value-weighted norms, not weights: read them with heatmap, stats or flow and --by norm, "
            "or keep the weights too, with --save-maps and without --by norm"
        )


def _chosen(maps: Sequence[Attention], choice: Choice, where: str) -> list[Attention]:
    layers = [layer for attention in maps for layer in attention.layers]
    if choice.layers is not None and any(isinstance(layer.layer, str) for layer in layers):
        raise UsageError(f"--layer cannot choose from {where}: it keeps only the mean over layers")
    if choice.heads is not None and not all(layer.heads for layer in layers):
        raise UsageError(f"--head cannot choose from {where}: it keeps only maps combined over heads")
    available = {(attention.kind, _number(layer)): layer.heads for attention in maps for layer in attention.layers}
    heads = resolve(choice, available, where)
    picked = (_pick(attention, heads) for attention in maps)
    return [attention for attention in picked if attention.layers]


def _number(layer: LayerMaps) -> int:
    return layer.layer if isinstance(layer.layer, int) else 0


def _pick(attention: Attention, heads: Selection) -> Attention:
    layers = tuple(
        _only_heads(layer, heads[attention.kind, _number(layer)])
        for layer in attention.layers
        if (attention.kind, _number(layer)) in heads
    )
    return replace(attention, layers=layers)


def _only_heads(layer: LayerMaps, heads: Sequence[int]) -> LayerMaps:
    if tuple(heads) == layer.heads:
        return layer
    places = [place for place, head in enumerate(layer.heads) if head in heads]
    visible = layer.visible
    if visible is not None and visible.shape[0] > 1:
        visible = visible[places]
    return replace(layer, heads=tuple(heads), weights=layer.weights[places], visible=visible)


def _as_read(attention: Attention, request: Request) -> Attention:
    """Special tokens out, pieces as words, where asked for and not done before."""
    if not attention.whole and (
        (request.words and not attention.words) or (request.drop and not attention.dropped_special)
    ):
        raise UsageError(
            "words and special tokens can only be told apart in whole maps, these show "
            f"{'cells of several tokens' if attention.pool != 'none' else 'a part of the text'}: run the model again"
        )
    attention = to_words(attention) if request.words else attention
    return drop_special(attention) if request.drop else attention


def _combined(attention: Attention, request: Request) -> Attention:
    if request.aggregate != "none" and attention.aggregate == "none":
        attention = attention.mean("head") if request.aggregate == "mean" else _largest(attention)
    elif request.aggregate not in ("none", attention.aggregate):
        raise UsageError(f"these maps are already the {attention.aggregate} over heads, not the {request.aggregate}")
    if request.aggregate_layers == "mean" and attention.aggregate_layers == "none":
        attention = attention.mean("layer")
    return attention


def _largest(attention: Attention) -> Attention:
    """The largest weight over heads."""
    layers = []
    for layer in attention.layers:
        visible = None if layer.visible is None else np.logical_or.reduce(layer.visible, axis=0, keepdims=True)
        with np.errstate(invalid="ignore"):
            weights = np.fmax.reduce(layer.weights, axis=0, keepdims=True)
        layers.append(LayerMaps(layer.layer, (), weights, visible))
    return replace(attention, layers=tuple(layers), aggregate="max")
