"""The chosen rows of a text in one block of the stream: their weights on the key tokens, ranks and strongest keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from attncli.data import Rows
from attncli.studies.find.pairs import Pair

TIE = 1e-6
"""Weights that differ by less than this share are equal: they share the middle rank."""
NUMBERS = ("real", "seen", "mass", "uniform", "rank", "keys", "top", "top_weight")
"""The numbers of one row: whether it sees any key and a key token, …, the position of its strongest key, its weight."""


@dataclass(frozen=True, eq=False)
class ChosenTokens:
    """Where the chosen tokens of a text are in a block: indices of rows and keys, and the numbers of these rows."""

    rows: torch.Tensor
    numbers: torch.Tensor
    keys: torch.Tensor

    @classmethod
    def of(cls, rows: Rows, entry: int, pair: Pair) -> ChosenTokens:
        """Return the tokens of one text in a block; `entry` is the number of the text in the batch."""
        query_positions, key_positions = (
            side[entry].cpu().numpy() for side in (rows.query_positions, rows.key_positions)
        )
        index = np.flatnonzero(np.isin(query_positions, pair.rows))
        numbers = np.searchsorted(pair.rows, query_positions[index])
        keys = np.flatnonzero(np.isin(key_positions, pair.keys))
        return cls(*(torch.from_numpy(part).to(rows.raw.device) for part in (index, numbers, keys)))


def sums_of_block(rows: Rows, entry: int, pair: Pair, chosen: ChosenTokens, drawn: bool) -> dict[str, torch.Tensor]:
    """Return what a block adds to the sums of one text, float64.

    chosen  [1, head, row, `NUMBERS`] the numbers of each chosen row
    total   [1, head, key] the sum over the chosen rows, only if `drawn`
    """
    weights = rows.raw[entry][:, chosen.rows]
    weights = weights if rows.scale is None else weights * rows.scale[entry][:, chosen.rows, None]
    visible = rows.visible_pairs[entry][:, chosen.rows].expand(weights.shape)
    weights = weights.masked_fill(~visible, 0)
    values = weights.new_zeros((len(rows.heads), len(pair.rows), len(NUMBERS)), dtype=torch.float64)
    values[:, chosen.numbers] = _row_numbers(weights, visible, rows.key_positions[entry], chosen.keys)
    sums = {"chosen": values}
    if drawn:
        total = values.new_zeros((len(rows.heads), rows.key_lengths[entry]))
        is_key = rows.key_positions[entry] >= 0
        sums["total"] = total.index_add_(
            1, rows.key_positions[entry][is_key], weights.sum(1, dtype=torch.float64)[:, is_key]
        )
    return {name: of_heads[None] for name, of_heads in sums.items()}


def _row_numbers(
    weights: torch.Tensor, visible: torch.Tensor, key_positions: torch.Tensor, keys: torch.Tensor
) -> torch.Tensor:
    """Return [head, row, `NUMBERS`] the numbers of some rows, all 0 in rows that see no key.

    weights, visible  [head, row, key]; masked pairs have weight 0
    keys              indices of the key tokens, which count as one key in the rank
    """
    real, seen = visible.any(-1), visible[..., keys].any(-1)
    mass, count = weights[..., keys].sum(-1, dtype=torch.float64), visible.sum(-1).double()
    uniform = visible[..., keys].sum(-1) / count.clamp_min(1)
    others = visible.clone()
    others[..., keys] = False
    above = (others & (weights > _limit(mass, 1 + TIE, weights))).sum(-1).double()
    at_least = (others & (weights >= _limit(mass, 1 - TIE, weights))).sum(-1).double()
    rank, among = 1 + (above + at_least) / 2, 1 + others.sum(-1).double()
    strongest = weights.masked_fill(~visible, -1).argmax(-1, keepdim=True)
    top_weight = weights.gather(-1, strongest)[..., 0].double()
    top = key_positions[strongest[..., 0]].double()
    numbers = (real.double(), seen.double(), mass, uniform, rank * seen, among * seen, top, top_weight)
    return torch.stack(numbers, dim=-1) * real[..., None]


def _limit(mass: torch.Tensor, factor: float, weights: torch.Tensor) -> torch.Tensor:
    """Return [head, row, 1] a multiple of the masses in the precision of the weights."""
    return (mass * factor).to(weights.dtype)[..., None]
