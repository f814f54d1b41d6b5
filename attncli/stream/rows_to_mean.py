"""How far the rows of a layer are from their mean row, while they stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from attncli.data import Array, Kind, Rows, Selection
from attncli.stream.divergence import divergence_from_mean
from attncli.stream.head_distance import SampledRows, TextsKey, sampled_pieces
from attncli.stream.protocol import selected
from attncli.stream.sums import Moments

MOST_ROWS = 128


class RowsToMean:
    """A sink for `rows_to_mean` of each layer, as `attncli explain rows_to_mean` defines it; over texts the mean.

    Rows are kept until their layer ends: of each text at most `max_rows` evenly spread ones.

    heads  the heads that count, by kind and layer
    """

    def __init__(self, heads: Selection, max_rows: int = MOST_ROWS) -> None:
        self._heads, self._max_rows = heads, max_rows
        self._open: dict[tuple[Kind, int], dict[TextsKey, list[SampledRows]]] = {}
        self._moments: dict[tuple[Kind, int], Moments] = {}

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None:
            return
        texts = self._open.setdefault((part.kind, part.layer), {})
        for piece, key in sampled_pieces(part, self._heads[part.kind, part.layer], self._max_rows, self._max_rows):
            # the memory of a block is used again for the next one
            texts.setdefault(key, []).append(replace(piece, weights=piece.weights.clone()))

    def end_layer(self, kind: Kind, layer: int) -> None:
        for pieces in self._open.pop((kind, layer), {}).values():
            self._moments.setdefault((kind, layer), Moments(())).add(_rows_to_mean(pieces))

    def result(self) -> Mapping[tuple[Kind, int], float]:
        """Return the number of each layer, in nat; NaN if no row has any weight."""
        return {key: float(moments.mean) for key, moments in self._moments.items()}


def _rows_to_mean(pieces: list[SampledRows]) -> Array:
    """Return the mean divergence of all rows of the pieces from their mean row, for each text: [text]."""
    keys = np.unique(np.concatenate([piece.keys for piece in pieces]))
    weights = torch.cat([piece.on_keys(keys).flatten(1, 2) for piece in pieces], dim=1).double()
    real = torch.cat([piece.real.expand(piece.weights.shape[:3]).flatten(1) for piece in pieces], dim=1)
    total = weights.sum(-1)
    real = (real & (total > 0)).double()
    weights = weights * torch.where(real > 0, 1 / total, 0.0)[..., None]
    values: Array = divergence_from_mean(weights, real).cpu().numpy()
    return values
