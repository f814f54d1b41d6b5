"""Finished maps fed back into the stream, so that any sink can take them without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from attncli.data import Array, Attention, Input, Kind, LayerMaps, Rows, Tokens
from attncli.errors import UsageError
from attncli.sinks import Keep, Sink
from attncli.transforms.special import drop_special, removed_mass, without_special
from attncli.transforms.words import merged_words, to_words

BLOCK_CELLS = 1 << 20


def replay(attention: Attention, sinks: Sequence[Sink]) -> None:
    """Feed the maps of one text and kind to sinks, layer by layer, as the model would have.

    Rows that are NaN are rows that see nothing. Maps in which heads or layers were folded together are a
    `UsageError`: measures are of single heads.
    """
    for maps in attention.layers:
        layer = _feed(attention, maps, sinks)
        for sink in sinks:
            sink.end_layer(attention.kind, layer)


def _feed(attention: Attention, maps: LayerMaps, sinks: Sequence[Sink]) -> int:
    layer = maps.layer
    if not maps.heads or isinstance(layer, str):
        folded = "heads" if not maps.heads else "layers"
        raise UsageError(
            f"these maps are the {attention.aggregate if not maps.heads else 'mean'} over {folded}, measures need "
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
    weights = np.array(maps.weights[None, :, block])
    undefined = np.isnan(weights).any(-1, keepdims=True)
    visible: Array = np.ones((1, 1, 1, 1), bool) if maps.visible is None else maps.visible[None, :, block]
    if undefined.any():
        weights = np.where(undefined, np.float32(0), weights)
        visible = visible & ~undefined
    keys = torch.arange(len(attention.keys))[None]
    return Rows(
        kind=attention.kind,
        layer=layer,
        heads=maps.heads,
        texts=(attention.text,),
        weights=torch.from_numpy(weights),
        visible=torch.from_numpy(np.array(visible)),
        query_positions=torch.arange(block.start, block.stop)[None],
        key_positions=keys,
        special_keys=torch.from_numpy(np.array(attention.keys.special))[None],
        query_lengths=(len(attention.queries),),
        key_lengths=(len(attention.keys),),
    )


class Transformed:
    """A sink in front of another: holds one layer, reads it by words or without special tokens, and hands it on.

    inputs        the texts as the other sink sees them; its `result` wants these
    removed_mass  mean share of attention that dropped special tokens took, NaN where none was dropped
    """

    def __init__(self, sink: Sink, inputs: Sequence[Input], *, words: bool = False, drop: bool = False) -> None:
        self._sink, self._words, self._drop = sink, words, drop
        self._given = tuple(inputs)
        self._open: dict[tuple[Kind, int], Keep] = {}
        self._removed: list[float] = []
        self.inputs = tuple(self._read(one) for one in inputs)

    @property
    def removed_mass(self) -> float:
        """Over the layers and texts so far."""
        known = [mass for mass in self._removed if not np.isnan(mass)]
        return float(np.mean(known)) if known else float("nan")

    def add(self, rows: Rows) -> None:
        """Hold one block."""
        self._open.setdefault((rows.kind, rows.layer), Keep()).add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Transform the layer and hand it on."""
        keep = self._open.pop((kind, layer), None)
        if keep is None:
            return
        keep.end_layer(kind, layer)
        for attention in keep.result(self._given):
            if self._words:
                attention = to_words(attention)
            if self._drop:
                self._removed.append(removed_mass(attention))
                attention = drop_special(attention)
            _feed(attention, attention.layers[0], [self._sink])
        self._sink.end_layer(kind, layer)

    def _read(self, one: Input) -> Input:
        target = None if one.target is None else self._side(one.target)
        return replace(one, source=self._side(one.source), target=target)

    def _side(self, tokens: Tokens) -> Tokens:
        tokens = merged_words(tokens) if self._words else tokens
        return without_special(tokens) if self._drop else tokens
