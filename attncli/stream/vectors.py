"""The sink that keeps query and key vectors, and the normalizers that turn their products into weights."""

import numpy as np
import torch

from attncli.data import Kind, Rows, ScoreParts, Selection, Vectors, kind_order
from attncli.stream.protocol import LayerKey, pop_layer, selected


class KeepVectors:
    """Query and key vectors of the selected heads, float32 on the host.

    `takes_vectors` makes capture pass them on. Layers whose weights the model computes itself have none.
    """

    takes_vectors = True

    def __init__(self, heads: Selection | None = None) -> None:
        self._heads = heads
        self._open: dict[LayerKey, tuple[ScoreParts, list[tuple[tuple[int, ...], torch.Tensor, torch.Tensor]]]] = {}
        self._kept: list[Vectors] = []

    def add(self, rows: Rows) -> None:
        """Keep the normalizers of one block, and from the first block of a layer the vectors of all tokens."""
        part = selected(rows, self._heads)
        if part is None or part.parts is None or part.largest is None or part.scale is None:
            return
        normalizer = (part.largest - part.scale.log()).masked_fill(~part.real, torch.nan)
        _, normalizers = self._open.setdefault((part.kind, part.layer, part.texts), (part.parts, []))
        normalizers.append((part.heads, part.query_positions, normalizer))

    def end_layer(self, kind: Kind, layer: int) -> None:
        for (_, _, texts), (parts, blocks) in pop_layer(self._open, kind, layer):
            heads = sorted({head for heads, _, _ in blocks for head in heads})
            group = parts.query.shape[1] // parts.key.shape[1]
            key_heads = sorted({head // group for head in heads})
            query, key = parts.query[:, heads].float().cpu().numpy(), parts.key[:, key_heads].float().cpu().numpy()
            normalizer = np.full(query.shape[:3], np.nan, np.float32)  # NaN remains for rows that see no key
            for block_heads, block_positions, values in blocks:
                indices = np.array([heads.index(head) for head in block_heads])[:, None]
                of_block = values.float().cpu().numpy()
                for entry, positions in enumerate(block_positions.cpu().numpy()):
                    normalizer[entry, indices, positions[positions >= 0]] = of_block[entry][:, positions >= 0]
            numbers = tuple(heads), tuple(key_heads.index(head // group) for head in heads)
            for text, *arrays in zip(texts, query, key, normalizer, strict=True):
                vectors = Vectors(text, kind, layer, *numbers, parts.scale, parts.softcap, parts.bias, *arrays)
                self._kept.append(vectors)

    def result(self) -> tuple[Vectors, ...]:
        """Return the vectors ordered by text, kind and layer."""
        return tuple(sorted(self._kept, key=lambda kept: (kept.text, kind_order(kept.kind), kept.layer)))
