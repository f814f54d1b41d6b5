"""Values that keep a token axis: one per query (or key) of every head and text, kept only on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Metric, Scores


@dataclass(frozen=True, eq=False)
class PositionValues:
    """What was measured at some tokens of some heads of one layer.

    values   [batch, head, token, metric], tokens at their positions in the unpadded text
    lengths  how many tokens each text has
    """

    kind: Kind
    layer: int
    heads: tuple[int, ...]
    texts: tuple[int, ...]
    lengths: tuple[int, ...]
    values: torch.Tensor


class Positions:
    """A table with one row per text, kind, layer, head and token of one side."""

    def __init__(self, side: Literal["query", "key"]) -> None:
        self._side = side
        self._done: dict[tuple[int, Kind, int, int], Array] = {}

    def add(self, values: PositionValues) -> None:
        """Take the values of one layer off the device."""
        found = values.values.cpu().numpy()
        for entry, (text, length) in enumerate(zip(values.texts, values.lengths, strict=True)):
            for place, head in enumerate(values.heads):
                self._done[text, values.kind, values.layer, head] = found[entry, place, :length]

    def scores(self, metrics: Sequence[Metric], inputs: Sequence[Input]) -> dict[str, Scores]:
        """One table per metric, ordered by text, kind, layer, head and position."""
        tables = sorted(self._done.items(), key=lambda item: (item[0][0], KINDS.index(item[0][1]), item[0][2:]))
        if not tables:
            return {}
        dim = "row" if self._side == "query" else "key"
        lengths = [len(table) for _, table in tables]
        coords = {
            name: (dim, np.repeat(np.array([place[at] for place, _ in tables], dtype=dtype), lengths))
            for at, (name, dtype) in enumerate(
                [("text", np.int64), ("kind", object), ("layer", np.int64), ("head", np.int64)]
            )
        }
        coords[self._side] = (dim, np.concatenate([np.arange(length) for length in lengths]))
        pieces = self._pieces(inputs)
        coords["token"] = (dim, np.concatenate([pieces[place[:2]] for place, _ in tables]))
        values = np.concatenate([table for _, table in tables])
        return {
            m.name: Scores(m.name, values[:, at], (dim,), coords, m.unit, m.range, m.source)
            for at, m in enumerate(metrics)
        }

    def _pieces(self, inputs: Sequence[Input]) -> dict[tuple[int, Kind], Array]:
        """The pieces of our side of every text and kind that was measured."""
        sides = {one.index: one for one in inputs}
        places = {place[:2] for place in self._done}
        side = 0 if self._side == "query" else 1
        return {(text, kind): np.array(sides[text].sides(kind)[side].pieces, dtype=object) for text, kind in places}
