"""Sums of blocks whose heads come in groups: added block by block, joined at the end of a layer."""

from __future__ import annotations

from collections.abc import Iterable

import torch

Sums = dict[str, torch.Tensor]
"""Tensors [batch, head, ...] that add up over blocks of rows."""


def add(total: Sums | None, more: Sums) -> Sums:
    """Two blocks of the same heads together."""
    return more if total is None else {name: total[name] + each for name, each in more.items()}


def join(parts: Iterable[tuple[tuple[int, ...], Sums]]) -> tuple[tuple[int, ...], Sums]:
    """Parts with any heads as one: all heads in order, and their sums."""
    parts = list(parts)
    heads = tuple(sorted({head for some, _ in parts for head in some}))
    joined: Sums = {}
    for some, sums in parts:
        places = [heads.index(head) for head in some]
        for name, each in sums.items():
            if name not in joined:
                joined[name] = each.new_zeros((each.shape[0], len(heads), *each.shape[2:]))
            joined[name].index_add_(1, torch.tensor(places, device=each.device), each)
    return heads, joined
