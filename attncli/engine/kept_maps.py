"""Select and combine kept maps in the same way as a forward pass does."""

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
    """Return kept maps selected and combined as a request says.

    where  what contains the maps, for messages
    Raise UsageError if they lack what the request needs.
    """
    _check_by(maps, request, where)
    chosen = _select_maps(maps, request.choice, where)
    return tuple(_combine(_merge_tokens(attention, request), request) for attention in chosen)


def check_weights(maps: Sequence[Attention]) -> None:
    """Raise UsageError if maps are value-weighted norms instead of weights."""
    if any(attention.by == "norm" for attention in maps):
        raise UsageError(
            "this needs attention weights, these maps are value-weighted norms (heatmap, stats, rollout and flow "
            "accept them): run the model without by='norm'"
        )


def _check_by(maps: Sequence[Attention], request: Request, where: str) -> None:
    """Raise UsageError if maps are weights and the request is for norms, or the other way round."""
    wrong = {attention.by for attention in maps} - {request.by}
    if "weight" in wrong:
        raise UsageError(
            f"{where} contains weights, from which no norms can be computed: "
            "run the model again with --by norm --save-maps"
        )
    if wrong:
        raise UsageError(
            f"{where} contains value-weighted norms, not weights: read them with heatmap, stats or flow and --by norm, "
            "or save the weights too, with --save-maps and without --by norm"
        )


def _select_maps(maps: Sequence[Attention], choice: Choice, where: str) -> list[Attention]:
    layers = [layer for attention in maps for layer in attention.layers]
    if choice.layers is not None and any(isinstance(layer.layer, str) for layer in layers):
        raise UsageError(f"--layer cannot choose from {where}: it keeps only the mean over layers")
    if choice.heads is not None and not all(layer.heads for layer in layers):
        raise UsageError(f"--head cannot choose from {where}: it keeps only maps combined over heads")
    available = {
        (attention.kind, _layer_number(layer)): layer.heads for attention in maps for layer in attention.layers
    }
    heads = resolve(choice, available, where)
    selected = (_select_heads(attention, heads) for attention in maps)
    return [attention for attention in selected if attention.layers]


def _layer_number(layer: LayerMaps) -> int:
    return layer.layer if isinstance(layer.layer, int) else 0


def _select_heads(attention: Attention, heads: Selection) -> Attention:
    layers = tuple(
        _only_heads(layer, heads[attention.kind, _layer_number(layer)])
        for layer in attention.layers
        if (attention.kind, _layer_number(layer)) in heads
    )
    return replace(attention, layers=layers)


def _only_heads(layer: LayerMaps, heads: Sequence[int]) -> LayerMaps:
    if tuple(heads) == layer.heads:
        return layer
    indices = [index for index, head in enumerate(layer.heads) if head in heads]
    visible = layer.visible
    if visible is not None and visible.shape[0] > 1:
        visible = visible[indices]
    return replace(layer, heads=tuple(heads), weights=layer.weights[indices], visible=visible)


def _merge_tokens(attention: Attention, request: Request) -> Attention:
    """Return a map without special tokens and with words instead of pieces, if requested and not yet done."""
    if not attention.whole and (
        (request.words and not attention.words) or (request.dropped_special and not attention.dropped_special)
    ):
        raise UsageError(
            "words and special tokens can only be found in full maps, these show "
            f"{'cells of several tokens' if attention.pool != 'none' else 'a part of the text'}: run the model again"
        )
    attention = to_words(attention) if request.words else attention
    return drop_special(attention) if request.dropped_special else attention


def _combine(attention: Attention, request: Request) -> Attention:
    if request.aggregate != "none" and attention.aggregate == "none":
        attention = attention.mean("head") if request.aggregate == "mean" else _largest_over_heads(attention)
    elif request.aggregate not in ("none", attention.aggregate):
        raise UsageError(f"these maps are already the {attention.aggregate} over heads, not the {request.aggregate}")
    if request.aggregate_layers == "mean" and attention.aggregate_layers == "none":
        attention = attention.mean("layer")
    return attention


def _largest_over_heads(attention: Attention) -> Attention:
    """Return maps of the largest weight over heads."""
    layers = []
    for layer in attention.layers:
        visible = None if layer.visible is None else np.logical_or.reduce(layer.visible, axis=0, keepdims=True)
        with np.errstate(invalid="ignore"):
            weights = np.fmax.reduce(layer.weights, axis=0, keepdims=True)
        layers.append(LayerMaps(layer.layer, (), weights, visible))
    return replace(attention, layers=tuple(layers), aggregate="max")
