"""The sink that keeps query and key vectors, and the normalizer that makes weights of their products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.data import KINDS, Array, Kind, Rows, ScoreParts, Selection, Vectors
from attncli.stream.protocol import selected


@dataclass
class _Layer:
    """One layer of a batch while its rows come in: the vectors of all its tokens, and the normalizers so far."""

    parts: ScoreParts
    texts: tuple[int, ...]
    normalizers: list[tuple[tuple[int, ...], torch.Tensor, torch.Tensor]] = field(default_factory=list)


class KeepVectors:
    """Query and key vectors of the heads asked for, float32 on the host.

    `takes_vectors` asks capture to hand them on. Layers whose weights the model computes itself have none.
    """

    takes_vectors = True

    def __init__(self, heads: Selection | None = None) -> None:
        self._heads = heads
        self._open: dict[tuple[Kind, int, tuple[int, ...]], _Layer] = {}
        self._kept: list[Vectors] = []

    def add(self, rows: Rows) -> None:
        """Take the normalizers of one block; of the first of a layer the vectors too, which are those of all rows."""
        part = selected(rows, self._heads)
        if part is None or part.parts is None or part.largest is None or part.scale is None:
            return
        normalizer = (part.largest - part.scale.log()).masked_fill(~part.real, torch.nan)
        place = part.kind, part.layer, part.texts
        layer = self._open.setdefault(place, _Layer(part.parts, part.texts))
        layer.normalizers.append((part.heads, part.query_positions, normalizer))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Bring a layer to the host."""
        for place in [place for place in self._open if place[:2] == (kind, layer)]:
            self._keep(kind, layer, self._open.pop(place))

    def result(self) -> tuple[Vectors, ...]:
        """By text, kind and layer."""
        return tuple(sorted(self._kept, key=lambda one: (one.text, KINDS.index(one.kind), one.layer)))

    def _keep(self, kind: Kind, number: int, layer: _Layer) -> None:
        parts, heads = layer.parts, sorted({head for heads, _, _ in layer.normalizers for head in heads})
        group = parts.query.shape[1] // parts.key.shape[1]
        shared = sorted({head // group for head in heads})
        query, key = parts.query[:, heads].float().cpu().numpy(), parts.key[:, shared].float().cpu().numpy()
        normalizer = _whole(layer, heads, query.shape[2])
        for entry, text in enumerate(layer.texts):
            self._kept.append(
                Vectors(
                    text=text,
                    kind=kind,
                    layer=number,
                    heads=tuple(heads),
                    key_heads=tuple(shared.index(head // group) for head in heads),
                    scale=parts.scale,
                    softcap=parts.softcap,
                    bias=parts.bias,
                    query=query[entry],
                    key=key[entry],
                    normalizer=normalizer[entry],
                )
            )


def _whole(layer: _Layer, heads: Sequence[int], queries: int) -> Array:
    """[batch, head, query] of all blocks."""
    found = np.full((len(layer.texts), len(heads), queries), np.nan, np.float32)
    for some, positions, normalizer in layer.normalizers:
        places = [heads.index(head) for head in some]
        values = normalizer.float().cpu().numpy()
        for entry, at in enumerate(positions.cpu().numpy()):
            found[entry, np.array(places)[:, None], at[at >= 0]] = values[entry][:, at >= 0]
    return found
