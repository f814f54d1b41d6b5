"""What one block adds to its layer: sums over rows of every measure, every key and every diagonal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from attncli.data import Columns, Kind, Metric, Rows

OFFSETS = tuple(range(-8, 9))
RUN = 128

Sums = dict[str, torch.Tensor]
"""Tensors [batch, head, ...] that add up over blocks of rows."""


def row_values(rows: Rows, metrics: Sequence[Metric]) -> torch.Tensor:
    """Every row measure of a block, NaN where undefined: [batch, head, row, metric] float64."""
    none = rows.weights.new_full(rows.weights.shape[:3], torch.nan, dtype=torch.float64)
    values = [metric.compute(rows) if rows.kind in metric.kinds else none for metric in metrics]
    return torch.stack(values, dim=-1) if values else none[..., None][..., :0]


def column_values(columns: Columns, metrics: Sequence[Metric]) -> torch.Tensor:
    """Every column measure of a layer, NaN where undefined: [batch, head, (key,) metric] float64."""
    per_key = any(metric.per_key for metric in metrics)
    none = torch.full_like(columns.mass if per_key else columns.mass[..., 0], torch.nan)
    values = [metric.compute(columns) if columns.kind in metric.kinds else none for metric in metrics]
    return torch.stack(values, dim=-1) if values else none[..., None][..., :0]


def block_sums(rows: Rows, values: torch.Tensor) -> Sums:
    """What this block adds: `values` are its row measures."""
    heads = len(rows.heads)
    mass, seen = _by_position(rows, _mass(rows)), _by_position(rows, rows.seen.sum(2).double())
    offsets = torch.tensor(OFFSETS, device=rows.query_positions.device)
    diagonals, visible = rows.at(rows.query_positions[..., None] + offsets)
    sums = {
        "values": values.nansum(2),
        "counts": (~values.isnan()).sum(2).double(),
        "mass": mass,
        "seen": seen,
        "offset_mass": (diagonals * visible).sum(2, dtype=torch.float64),
        "offset_seen": visible.sum(2).double(),
        "rows": rows.real.sum(2).double(),
    }
    return {name: each.expand(-1, heads, *each.shape[2:]) for name, each in sums.items()}


def _mass(rows: Rows) -> torch.Tensor:
    """Σ_i A_ik over the real rows of the block: [batch, head, key] float64, runs of 128 rows in float32."""
    real = rows.real.to(rows.weights.dtype)[:, :, None, :].expand(-1, rows.weights.shape[1], -1, -1)
    runs = range(0, rows.weights.shape[2], RUN)
    parts = [(real[..., at : at + RUN] @ rows.weights[:, :, at : at + RUN]).double() for at in runs]
    return torch.stack(parts).sum(0).squeeze(2)


def _by_position(rows: Rows, by_key: torch.Tensor) -> torch.Tensor:
    """[batch, head, key] with keys put at their positions in the unpadded text."""
    batch, heads, _ = by_key.shape
    past = max(rows.key_lengths)
    slots = torch.where(rows.key_positions < 0, past, rows.key_positions)[:, None].expand_as(by_key)
    return by_key.new_zeros((batch, heads, past + 1)).scatter_add_(-1, slots, by_key)[..., :past]


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


def columns(kind: Kind, sums: Sums) -> Columns:
    """The sums as column measures take them."""
    return Columns(
        kind=kind,
        mass=sums["mass"],
        seen=sums["seen"],
        offset_mass=sums["offset_mass"],
        offset_seen=sums["offset_seen"],
        offsets=OFFSETS,
        rows=sums["rows"],
    )
