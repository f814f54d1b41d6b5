"""Kept maps streamed again, so that any sink can consume them without a model."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from attncli.data import Array, Attention, Kind, LayerMaps, Rows, Tokens, Visibility
from attncli.data.zoom import combined_name
from attncli.errors import UsageError
from attncli.stream.protocol import Sink, without_autocast

BLOCK_CELLS = 1 << 20


def replay(attention: Attention, sinks: Sequence[Sink]) -> None:
    """Stream the maps of one text and kind to sinks, layer by layer, as a forward pass does.

    Rows that are NaN become rows that see no key. Raise UsageError for maps combined over heads or layers, as measures
    are of single heads, and for pooled or partial maps, as measures are of all tokens.
    """
    if not attention.whole:
        raise UsageError(
            "measures need full maps, these are pooled or show a part of the text: measure in the same run "
            "(metrics=…, top_k=…, profile=True), or keep full maps"
        )
    with without_autocast(torch.device("cpu")):
        _replay_layers(attention, sinks)


def _replay_layers(attention: Attention, sinks: Sequence[Sink]) -> None:
    for maps in attention.layers:
        if not maps.heads or isinstance(maps.layer, str):
            how, combined = ("mean", "layers") if maps.heads else (combined_name(attention.aggregate), "heads")
            raise UsageError(
                f"these maps are the {how} over {combined}, measures need those of single heads: "
                f"save them without --aggregate{'-layers' if maps.heads else ''}"
            )
        step = max(1, BLOCK_CELLS // max(1, len(maps.heads) * len(attention.keys)))
        for first in range(0, len(attention.queries), step):
            block = slice(first, min(first + step, len(attention.queries)))
            rows = _rows(attention, maps, maps.layer, block)
            for sink in sinks:
                sink.add(rows)
        for sink in sinks:
            sink.end_layer(attention.kind, maps.layer)


def _rows(attention: Attention, maps: LayerMaps, layer: int, block: slice) -> Rows:
    weights = np.array(maps.weights[:, block])
    undefined = np.isnan(weights).any(-1, keepdims=True)
    visible: Array = np.ones((1, 1, 1), bool) if maps.visible is None else maps.visible[:, block]
    if undefined.any():
        weights = np.where(undefined, np.float32(0), weights)
        visible = visible & ~undefined
    rows = rows_of(
        (attention.kind, layer, attention.text),
        maps.heads,
        torch.from_numpy(weights)[None],
        torch.from_numpy(np.array(visible))[None],
        torch.arange(block.start, block.stop),
        (attention.queries, attention.keys),
    )
    return replace(rows, visibility=replace(rows.visibility, slices=(block, slice(0, len(attention.keys)))))


def rows_of(
    layer_of_text: tuple[Kind, int, int],
    heads: tuple[int, ...],
    weights: torch.Tensor,
    visible: torch.Tensor,
    positions: torch.Tensor,
    sides: tuple[Tokens, Tokens],
) -> Rows:
    """Return a block with rows at these positions and all keys of one text.

    layer_of_text  kind, layer and text
    weights        [1, head, row, key]
    visible        [1, 1 or head, row, key]
    sides          the queries and keys of the text
    """
    queries, keys = sides
    kind, layer, text = layer_of_text
    special = np.array(keys.special)
    visibility = Visibility(
        visible=visible,
        query_positions=positions[None],
        key_positions=torch.arange(len(keys), device=weights.device)[None],
        special_keys=torch.from_numpy(special).to(weights.device)[None],
        query_lengths=(len(queries),),
        key_lengths=(len(keys),),
        special_counts=(int(special.sum()),),
    )
    return Rows(kind, layer, heads, (text,), weights, visibility)
