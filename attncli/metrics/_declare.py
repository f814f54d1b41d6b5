"""What a metric says about itself; everything else (CLI name, help page, schema, tests) follows from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attncli.data import KINDS, Columns, Kind, Metric, Range, Rows

if TYPE_CHECKING:
    import torch

__all__ = ["Metric", "column_metric", "row_metric"]


def row_metric(
    compute: Callable[[Rows], torch.Tensor],
    *,
    unit: str,
    range: Range,
    source: str,
    kinds: tuple[Kind, ...] = KINDS,
    neutral: float | None = None,
) -> Metric:
    """Declare a measure of each row by itself: [batch, head, row] float64, NaN where undefined."""
    return Metric(compute.__name__, compute, "row", unit, range, source, kinds, neutral=neutral)


def column_metric(
    compute: Callable[[Columns], torch.Tensor],
    *,
    unit: str,
    range: Range,
    source: str,
    kinds: tuple[Kind, ...] = KINDS,
    per_key: bool = False,
    neutral: float | None = None,
) -> Metric:
    """Declare a measure of sums over rows: [batch, head] float64, or [batch, head, key] with `per_key`."""
    return Metric(compute.__name__, compute, "column", unit, range, source, kinds, per_key, neutral)
