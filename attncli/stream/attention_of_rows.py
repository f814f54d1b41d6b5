"""A sink of the attention of a few rows of one text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attncli.data import Array, Input, Kind, Rows, Selection
from attncli.stream.protocol import selected


class AttentionOfRows:
    """A sink that keeps the attention of some rows of one text.

    weights  [key] mean over heads and rows of the weights, by kind and layer
    visible  [key] whether a row can see the key, by kind
    """

    def __init__(self, text: Input, rows: Mapping[Kind, Array], heads: Selection) -> None:
        self.text, self._rows, self._heads = text, rows, heads
        self._counts = {kind: len(text.sides(kind)[1]) for kind in rows}
        self.weights: dict[tuple[Kind, int], Array] = {}
        self.visible = {kind: np.zeros(count, bool) for kind, count in self._counts.items()}

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None or part.kind not in self._rows:
            return
        positions = part.query_positions[0].cpu().numpy()
        chosen = np.flatnonzero(np.isin(positions, self._rows[part.kind]))
        if not len(chosen):
            return
        keys = part.key_positions[0].cpu().numpy()
        visible = part.visible_pairs[0][:, chosen]
        weights = part.weights[0][:, chosen]
        sums = weights.masked_fill(~visible.expand(weights.shape), 0).double().sum((0, 1)).cpu().numpy()
        total = self.weights.setdefault((part.kind, part.layer), np.zeros(self._counts[part.kind]))
        count = len(self._heads[part.kind, part.layer]) * len(self._rows[part.kind])
        real = keys >= 0
        total[keys[real]] += sums[real] / count
        self.visible[part.kind][keys[real]] |= visible.any(0).any(0).cpu().numpy()[real]

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Nothing is left to do."""
