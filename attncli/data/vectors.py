"""Query and key vectors: what attention scores are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.tokens import Array, Kind, read_only

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Vectors:
    """Why does a token look where it looks? The query and key vectors of one layer, of one text and kind.

    score   s_ij = softcap(scale · q_i · k_j), softcap(x) = c tanh(x / c) where the model caps its scores, else x
    weight  A_ij = exp(s_ij + b_ij - n_i) on the keys that row i may see, n_i = ln Σ_j exp(s_ij + b_ij) its normalizer;
            a learned sink is one more term of that sum. b_ij is 0 unless `bias`: then a position bias (ALiBi, T5)

    heads       head numbers as the model counts them
    key_heads   for each of them which entry of `key` it reads: several share one in grouped-query attention
    query       [head, query, dim] float32 as it is multiplied: after rotary positions, before `scale`
    key         [key head, key, dim] float32 in the same way
    normalizer  [head, query] float32, NaN for rows that see no key
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
        """[query, key] float64: the scores of one head, without bias and mask."""
        at = self.heads.index(head)
        scores: Array = self.scale * (self.query[at].astype(np.float64) @ self.key[self.key_heads[at]].T)
        return scores if self.softcap is None else self.softcap * np.tanh(scores / self.softcap)


@dataclass(frozen=True, eq=False)
class ScoreParts:
    """What the scores of one call are made of, on the model's device; `Vectors` says what each is.

    query  [batch, head, query, dim] of all heads and tokens of texts without padding
    key    [batch, key head, key, dim] in the same way
    """

    query: torch.Tensor
    key: torch.Tensor
    scale: float
    softcap: float | None
    bias: bool
