"""Statistics of attention, computed in blocks of queries so that no [query, key] map is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attncli.nn.weights import attention_weights

BLOCK_WEIGHTS = 1 << 20
"""Largest number of weights in a block, if a single row has fewer."""


@dataclass(frozen=True, eq=False)
class AttentionStatistics:
    """Statistics of the weights of one call, in float64; a query without visible keys has NaN.

    entropy             [batch, head, query] as the metric of that name, in nats
    entropy_normalized  [batch, head, query] from 0 to 1; NaN where one key only is visible
    strongest_key       [batch, head, query] position of the key with the largest weight; -1 if no key is visible
    strongest_weight    [batch, head, query] that weight
    received            [batch, head, key] mean weight that a key gets from the queries that it is visible to
    """

    entropy: torch.Tensor
    entropy_normalized: torch.Tensor
    strongest_key: torch.Tensor
    strongest_weight: torch.Tensor
    received: torch.Tensor


@torch.no_grad()
def attention_statistics(query: torch.Tensor, key: torch.Tensor, visible: torch.Tensor | None) -> AttentionStatistics:
    """Return the statistics of the attention of queries to keys, [batch, head, token, size] each.

    visible  bool mask that broadcasts to [batch, head, query, key]; None if all keys are visible
    """
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    step = max(1, BLOCK_WEIGHTS // max(1, batch * heads * keys))
    precise = _sum_dtype(query.device)
    # made before the blocks: results between their weights would keep the C library from using that memory again
    mass = query.new_zeros(batch, heads, keys, dtype=precise)
    entropy, entropy_normalized, strongest_weight = query.new_empty(3, batch, heads, queries, dtype=precise)
    strongest_key = query.new_empty(batch, heads, queries, dtype=torch.long)
    results = entropy, entropy_normalized, strongest_key, strongest_weight
    for start in range(0, queries, step):
        block_visible = visible if visible is None or visible.shape[2] == 1 else visible[:, :, start : start + step]
        weights = attention_weights(query[:, :, start : start + step], key, block_visible)
        mass += weights.sum(2, dtype=precise)
        for result, rows in zip(results, _of_rows(weights, block_visible, precise), strict=True):
            result[:, :, start : start + step] = rows
    readers = torch.full_like(mass, queries) if visible is None else _readers(visible, queries).to(precise)
    return AttentionStatistics(*results, mass / readers)


def _of_rows(weights: torch.Tensor, visible: torch.Tensor | None, precise: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return entropy, normalized entropy, strongest key and strongest weight of each row of a block."""
    entropy = torch.special.entr(weights).sum(-1, dtype=precise)
    largest, position = weights.max(-1)
    count = (
        torch.full_like(entropy, weights.shape[-1])
        if visible is None
        else visible.sum(-1).to(precise).expand_as(entropy)
    )
    undefined = count == 0
    return (
        entropy.masked_fill(undefined, torch.nan),
        (entropy / count.log()).masked_fill(count < 2, torch.nan),
        position.masked_fill(undefined, -1),
        largest.to(precise).masked_fill(undefined, torch.nan),
    )


def _readers(visible: torch.Tensor, queries: int) -> torch.Tensor:
    """Return how many queries see each key: [batch or 1, head or 1, key]."""
    return visible.sum(2) * (queries if visible.shape[2] == 1 else 1)


def _sum_dtype(device: torch.device) -> torch.dtype:
    # the GPUs of Macs have no float64
    return torch.float32 if device.type == "mps" else torch.float64
