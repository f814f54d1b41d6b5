"""What a metric says about itself; everything else (CLI name, help page, schema, tests) follows from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attncli.data import KINDS, Columns, Kind, Metric, Range, RowSum

if TYPE_CHECKING:
    import torch

__all__ = ["Metric", "column_metric", "row_metric"]


def row_metric(
    compute: Callable[[Any], torch.Tensor],
    *,
    unit: str,
    range: Range,
    source: str,
    kinds: tuple[Kind, ...] = KINDS,
    neutral: float | None = None,
    needs: tuple[RowSum, ...] | None = None,
    views: tuple[RowSum, ...] = (),
) -> Metric:
    """Declare a measure of each row by itself, of `Rows`: [batch, head, row] float64, NaN where undefined.

    needs  sums over keys that are all it takes of the weights beside `near`: it is then worked out once per layer, of
           `RowSums`; None: it takes the weights themselves, block by block
    views  the same of what is visible
    """
    return Metric(
        compute.__name__, compute, "row", unit, range, source, kinds, neutral=neutral, needs=needs, views=views
    )


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
