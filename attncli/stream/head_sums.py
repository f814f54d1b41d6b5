"""Sums over the rows of a layer, added block by block while the heads come in groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch

from attncli.data import Kind, Rows

Sums = dict[str, torch.Tensor]
"""Tensors [batch, head, ...] that are summed over blocks of rows."""


@dataclass
class LayerParts:
    """The sums of one layer of some texts so far, by the heads of a block."""

    texts: tuple[int, ...]
    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    parts: dict[tuple[int, ...], Sums] = field(default_factory=dict)

    def joined(self) -> tuple[tuple[int, ...], Sums]:
        """Return all head numbers in order, and the sums of these heads."""
        return join_heads(self.parts.items())


class OpenLayers:
    """The layers whose rows are still streaming."""

    def __init__(self) -> None:
        self._layers: dict[tuple[Kind, int, tuple[int, ...]], LayerParts] = {}

    def add(self, rows: Rows, sums: Sums) -> None:
        """Add the sums of one block."""
        new = LayerParts(rows.texts, rows.query_lengths, rows.key_lengths)
        parts = self._layers.setdefault((rows.kind, rows.layer, rows.texts), new).parts
        parts[rows.heads] = add_sums(parts.get(rows.heads), sums)

    def pop(self, kind: Kind, layer: int) -> Iterator[LayerParts]:
        """Remove a layer and yield its sums, for one group of texts after the other."""
        for key in [key for key in self._layers if key[:2] == (kind, layer)]:
            yield self._layers.pop(key)


def add_sums(total: Sums | None, block: Sums) -> Sums:
    """Return the sums of two blocks of the same heads."""
    return block if total is None else {name: total[name] + values for name, values in block.items()}


def join_heads(parts: Iterable[tuple[tuple[int, ...], Sums]]) -> tuple[tuple[int, ...], Sums]:
    """Return all head numbers in order, and the sums of these heads, from parts with any heads."""
    parts = list(parts)
    all_heads = tuple(sorted({head for heads, _ in parts for head in heads}))
    joined: Sums = {}
    for heads, sums in parts:
        for name, values in sums.items():
            if name not in joined:
                joined[name] = values.new_zeros((values.shape[0], len(all_heads), *values.shape[2:]))
            index = torch.tensor([all_heads.index(head) for head in heads], device=values.device)
            joined[name].index_add_(1, index, values)
    return all_heads, joined
