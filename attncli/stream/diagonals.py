"""Sums of the weights of blocks by offset, and what of these sums depends on the mask alone."""

from __future__ import annotations

import torch

from attncli.data import Rows
from attncli.stream.diagonal_products import diagonal_sums
from attncli.stream.sums import Sums

Tensor = torch.Tensor
_CHUNK = 128
"""Rows that are summed in the precision of the weights."""


def sums_by_offset(rows: Rows, learned: Tensor | None = None) -> Sums:
    """Return mass and visible_rows, [batch, head, offset] float64.

    mass is Σ_i A_i,i+o over the rows for which key i+o is visible, visible_rows the number of these rows.

    learned  which rows count, [batch, 1 or head, row] bool; all real rows by default
    """
    counted, memory = rows.real if learned is None else learned, rows.visibility.cache
    visible_rows = memory.get(sums_by_offset) if learned is None else None
    if visible_rows is None:
        visible_rows = by_offset(rows.visible_pairs.float(), counted.float(), rows)
    if learned is None:
        memory[sums_by_offset] = visible_rows
    mass = by_offset(rows.raw, rows.factor * counted.to(rows.factor.dtype), rows)
    return {"mass": mass, "visible_rows": visible_rows.expand(-1, mass.shape[1], -1)}


def by_offset(values: Tensor, factors: Tensor, rows: Rows) -> Tensor:
    """Return sums of values [batch, head, row, key] times factors [batch, head, row]: [batch, head, offset] float64.

    Offsets go from that of the last query to key 0, to that of query 0 to the last key, of the longest text.
    """
    zero_offset = max(rows.query_lengths) - 1
    width = zero_offset + max(rows.key_lengths)
    count, keys = values.shape[2:]
    sums = values.new_zeros((*values.shape[:2], width + 1), dtype=torch.float64)
    slices = rows.visibility.slices
    if slices is None:
        offsets = rows.key_positions[:, None] - rows.query_positions[..., None] + zero_offset
        real = (rows.key_positions >= 0)[:, None] & (rows.query_positions >= 0)[..., None]
        index = torch.where(real, offsets, width).flatten(1)[:, None].expand(-1, values.shape[1], -1)
        products = values.double() * factors[..., None]
        return sums.scatter_add_(-1, index, products.flatten(2))[..., :width]
    factors = factors.expand(values.shape[:3])
    first_offset = slices[1].start - slices[0].start + zero_offset
    for first in range(0, count, _CHUNK):
        part = slice(first, min(first + _CHUNK, count))
        start = first_offset - (part.stop - 1)
        of_part = diagonal_sums(values[:, :, part], factors[:, :, None, part])[:, :, 0]
        sums[..., start : start + keys + part.stop - part.start - 1] += of_part
    return sums[..., :width]


def visible_ranges(rows: Rows) -> Sums:
    """Return start and stop of the visible keys, [batch, head, row], and gaps, rows with gaps, [batch, head]."""
    memory, heads = rows.visibility.cache, rows.raw.shape[1]
    if visible_ranges not in memory:
        memory[visible_ranges] = _ranges_of(rows)
    return {name: values.expand(-1, heads, *values.shape[2:]) for name, values in memory[visible_ranges].items()}


def _ranges_of(rows: Rows) -> Sums:
    """Return the same with one head if all heads see the same keys."""
    padding = max(rows.query_lengths)
    keys = rows.key_positions[:, None, None]
    start = torch.where(rows.visible_pairs, keys, max(rows.key_lengths)).amin(-1)
    stop = torch.where(rows.visible_pairs, keys, -1).amax(-1) + 1
    gaps = rows.real & (stop - start != rows.visible_count)
    index = torch.where(rows.query_positions < 0, padding, rows.query_positions)[:, None].expand(start.shape)

    def by_position(values: Tensor) -> Tensor:
        zeros = values.new_zeros((*values.shape[:2], padding + 1))
        return zeros.scatter_(-1, index, values.where(rows.real, 0))[..., :padding]

    return {"start": by_position(start), "stop": by_position(stop), "gaps": gaps.sum(-1)}
