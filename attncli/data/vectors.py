"""Query and key vectors, from which attention scores are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.tokens import Array, Kind, read_only

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Vectors:
    """The query and key vectors of one layer, for one text and kind of attention: they explain each weight.

    score   s_ij = softcap(scale · q_i · k_j), softcap(x) = c tanh(x / c) if the model caps its scores, else x
    weight  A_ij = exp(s_ij + b_ij - n_i) for visible keys, n_i = ln Σ_j exp(s_ij + b_ij) the normalizer of row i;
            a learned sink adds one term to that sum. b_ij is a position bias (ALiBi, T5) if `bias`, else 0

    heads       head numbers of the model
    key_heads   index into `key` for each head; with grouped-query attention several heads share one
    query       [head, query, dim] float32, after rotary positions and before `scale`
    key         [key head, key, dim] float32, after rotary positions
    normalizer  [head, query] float32, NaN for rows without a visible key
    """

    text: int
    kind: Kind
    layer: int
    heads: tuple[int, ...]
    key_heads: tuple[int, ...]
    scale: float
    softcap: float | None
    bias: bool
    query: Array
    key: Array
    normalizer: Array

    def __post_init__(self) -> None:
        for name in ("query", "key", "normalizer"):
            object.__setattr__(self, name, read_only(getattr(self, name), np.float32))

    def scores(self, head: int) -> Array:
        """Return the scores of one head, [query, key] float64, without bias and mask."""
        index = self.heads.index(head)
        scores: Array = self.scale * (self.query[index].astype(np.float64) @ self.key[self.key_heads[index]].T)
        return scores if self.softcap is None else self.softcap * np.tanh(scores / self.softcap)


@dataclass(frozen=True, eq=False)
class ScoreParts:
    """The query and key vectors of one attention call, on the model's device; `Vectors` explains the fields.

    query  [batch, head, query, dim] for all heads and tokens of texts without padding
    key    [batch, key head, key, dim]
    """

    query: torch.Tensor
    key: torch.Tensor
    scale: float
    softcap: float | None
    bias: bool
