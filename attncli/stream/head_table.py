"""Values of heads over texts, as a table with one row per head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attncli.data import KINDS, Array, Kind
from attncli.stream.moments import Moments

Coords = dict[str, tuple[str, Array]]
"""The coordinates of a table by name, each with its dimension."""


@dataclass
class _HeadGroup:
    """Some heads of a layer over the texts so far; the moments are [head, ...]."""

    moments: Moments
    texts: int = 0
    queries: int = 0


class HeadTable:
    """Mean and standard deviation over texts for each head."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Kind, int, tuple[int, ...]], _HeadGroup] = {}

    def add(self, kind: Kind, layer: int, heads: tuple[int, ...], values: Array, queries: int = 0) -> None:
        """Add values [text, head, ...] of some heads; `queries` is the number of query tokens of these texts."""
        group = self._groups.setdefault((kind, layer, heads), _HeadGroup(Moments(values.shape[1:])))
        group.moments.add(values)
        group.texts += len(values)
        group.queries += queries

    @property
    def several_texts(self) -> bool:
        """Return whether any head has values of more than one text."""
        return any(group.texts > 1 for group in self._groups.values())

    def rows(
        self, what: Literal["mean", "std"], shape: tuple[int, ...], kinds: Sequence[Kind] = KINDS
    ) -> tuple[Coords, Array]:
        """Return coordinates (kind, layer, head, texts, queries) and values [head, *shape], ordered by them."""
        rows = []
        for (kind, layer, heads), group in self._groups.items():
            moments: Array = getattr(group.moments, what)
            for index, head in enumerate(heads if kind in kinds else ()):
                rows.append(((KINDS.index(kind), layer, head, group.texts, group.queries), moments[index]))
        rows.sort(key=lambda row: row[0][:3])
        kind_names = np.array([KINDS[place[0]] for place, _ in rows], dtype=object)
        numbers = np.array([place for place, _ in rows], dtype=np.int64).reshape(-1, 5).T
        columns = (kind_names, *numbers[1:])
        coords = {
            name: ("head", column)
            for name, column in zip(("kind", "layer", "head", "texts", "queries"), columns, strict=True)
        }
        return coords, np.array([values for _, values in rows]).reshape(len(rows), *shape)
