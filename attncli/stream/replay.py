"""Finished maps fed back into the stream, so that any sink can take them without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from attncli.data import Array, Attention, Kind, LayerMaps, Rows, Tokens, Visibility
from attncli.errors import UsageError
from attncli.stream import Sink

BLOCK_CELLS = 1 << 20


def replay(attention: Attention, sinks: Sequence[Sink]) -> None:
    """Feed the maps of one text and kind to sinks, layer by layer, as the model would have.

    Rows that are NaN are rows that see nothing. Maps in which heads or layers were combined together are a
    `UsageError`, as measures are of single heads; so are cells and parts of maps, as they are of all tokens.
    """
    if not attention.whole:
        raise UsageError(
            "measures need whole maps, these are pooled or show a part of the text: measure in the same run "
            "(metrics=…, top_k=…, profile=True), or keep whole maps"
        )
    for maps in attention.layers:
        layer = _feed(attention, maps, sinks)
        for sink in sinks:
            sink.end_layer(attention.kind, layer)


def _feed(attention: Attention, maps: LayerMaps, sinks: Sequence[Sink]) -> int:
    layer = maps.layer
    if not maps.heads or isinstance(layer, str):
        combined = "heads" if not maps.heads else "layers"
        raise UsageError(
            f"these maps are the {attention.aggregate if not maps.heads else 'mean'} over {combined}, measures need "
            f"those of single heads: save them without --aggregate{'' if not maps.heads else '-layers'}"
        )
    step = max(1, BLOCK_CELLS // max(1, len(maps.heads) * len(attention.keys)))
    for first in range(0, len(attention.queries), step):
        last = min(first + step, len(attention.queries))
        rows = _rows(attention, maps, layer, slice(first, last))
        for sink in sinks:
            sink.add(rows)
    return layer


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
        torch.from_numpy(weights),
        torch.from_numpy(np.array(visible)),
        torch.arange(block.start, block.stop),
        (attention.queries, attention.keys),
    )
    return replace(rows, visibility=replace(rows.visibility, runs=(block, slice(0, len(attention.keys)))))


def rows_of(
    place: tuple[Kind, int, int],
    heads: tuple[int, ...],
    weights: torch.Tensor,
    visible: torch.Tensor,
    positions: torch.Tensor,
    sides: tuple[Tokens, Tokens],
) -> Rows:
    """A block with all keys of one text: `place` is its kind, layer and text, [head, row, key] its axes."""
    queries, keys = sides
    kind, layer, text = place
    special = np.array(keys.special)
    visibility = Visibility(
        visible=visible[None],
        query_positions=positions[None],
        key_positions=torch.arange(len(keys), device=weights.device)[None],
        special_keys=torch.from_numpy(special).to(weights.device)[None],
        query_lengths=(len(queries),),
        key_lengths=(len(keys),),
        special_counts=(int(special.sum()),),
    )
    return Rows(kind, layer, heads, (text,), weights[None], visibility)
