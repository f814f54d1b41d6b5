"""The sink that keeps query and key vectors, and the normalizers that turn their products into weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.data import KINDS, Array, Kind, Rows, ScoreParts, Selection, Vectors
from attncli.stream.protocol import LayerKey, pop_layer, selected


@dataclass
class _OpenLayer:
    """The vectors of all tokens of some texts in one layer, and the normalizers of the rows that came so far."""

    parts: ScoreParts
    normalizers: list[tuple[tuple[int, ...], torch.Tensor, torch.Tensor]] = field(default_factory=list)


class KeepVectors:
    """Query and key vectors of the selected heads, float32 on the host.

    `takes_vectors` makes capture pass them on. Layers whose weights the model computes itself have none.
    """

    takes_vectors = True

    def __init__(self, heads: Selection | None = None) -> None:
        self._heads = heads
        self._open: dict[LayerKey, _OpenLayer] = {}
        self._kept: list[Vectors] = []

    def add(self, rows: Rows) -> None:
        """Keep the normalizers of one block, and from the first block of a layer the vectors of all tokens."""
        part = selected(rows, self._heads)
        if part is None or part.parts is None or part.largest is None or part.scale is None:
            return
        normalizer = (part.largest - part.scale.log()).masked_fill(~part.real, torch.nan)
        opened = self._open.setdefault((part.kind, part.layer, part.texts), _OpenLayer(part.parts))
        opened.normalizers.append((part.heads, part.query_positions, normalizer))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Copy a layer to the host."""
        for (_, _, texts), opened in pop_layer(self._open, kind, layer):
            self._finish(kind, layer, texts, opened)

    def result(self) -> tuple[Vectors, ...]:
        """Return the vectors ordered by text, kind and layer."""
        return tuple(sorted(self._kept, key=lambda kept: (kept.text, KINDS.index(kept.kind), kept.layer)))

    def _finish(self, kind: Kind, layer: int, texts: tuple[int, ...], opened: _OpenLayer) -> None:
        parts, heads = opened.parts, sorted({head for heads, _, _ in opened.normalizers for head in heads})
        group = parts.query.shape[1] // parts.key.shape[1]
        key_heads = sorted({head // group for head in heads})
        query, key = parts.query[:, heads].float().cpu().numpy(), parts.key[:, key_heads].float().cpu().numpy()
        normalizer = _normalizers(opened, heads, query.shape)
        for entry, text in enumerate(texts):
            self._kept.append(
                Vectors(
                    text=text,
                    kind=kind,
                    layer=layer,
                    heads=tuple(heads),
                    key_heads=tuple(key_heads.index(head // group) for head in heads),
                    scale=parts.scale,
                    softcap=parts.softcap,
                    bias=parts.bias,
                    query=query[entry],
                    key=key[entry],
                    normalizer=normalizer[entry],
                )
            )


def _normalizers(opened: _OpenLayer, heads: list[int], shape: Sequence[int]) -> Array:
    """Return the normalizers of all blocks: [batch, head, query], NaN for rows that see no key."""
    joined = np.full(shape[:3], np.nan, np.float32)
    for block_heads, block_positions, normalizer in opened.normalizers:
        indices = np.array([heads.index(head) for head in block_heads])[:, None]
        values = normalizer.float().cpu().numpy()
        for entry, positions in enumerate(block_positions.cpu().numpy()):
            joined[entry, indices, positions[positions >= 0]] = values[entry][:, positions >= 0]
    return joined
