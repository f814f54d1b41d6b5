"""How a metric declares itself; its command-line name, help page, schema and tests follow from the declaration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attncli.data import KINDS, Columns, Kind, Metric, Range, RowSum

if TYPE_CHECKING:
    import torch


def row_metric(
    compute: Callable[[Any], torch.Tensor],
    *,
    unit: str,
    range: Range,
    source: str,
    kinds: tuple[Kind, ...] = KINDS,
    neutral: float | None = None,
    needs: tuple[RowSum, ...] | None = None,
    needs_visibility: tuple[RowSum, ...] = (),
) -> Metric:
    """Return the declaration of a measure of single rows: [batch, head, row] float64, NaN where undefined.

    `needs` and `needs_visibility` are the functions of `Rows` and `Visibility` that `compute` calls and that are
    decorated with `cached`. With them (and `near`) `compute` runs once per layer, on `RowSums`. With `needs=None` it
    runs on the weights of every block.
    """
    name = compute.__name__
    return Metric(
        name,
        compute,
        "row",
        unit,
        range,
        source,
        kinds,
        neutral=neutral,
        needs=needs,
        needs_visibility=needs_visibility,
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
    """Return the declaration of a measure of sums over rows: [batch, head] float64, per key [batch, head, key]."""
    return Metric(compute.__name__, compute, "column", unit, range, source, kinds, per_key, neutral)
