"""What a metric says about itself; everything else (CLI name, help page, schema, tests) follows from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from attncli.data import KINDS, Columns, Kind, Rows

if TYPE_CHECKING:
    import torch

Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Metric:
    """A measure and its declaration.

    scope     row: `Rows` → [batch, head, row]; column: `Columns` → [batch, head], or [batch, head, key] with `per_key`
    range     smallest and largest possible value, None where open or dependent on the text
    neutral   where a diverging colour scale has its middle (1 for a ratio, 0 for a signed offset), else None
    kinds     the kinds of attention for which it is defined
    """

    name: str
    compute: Callable[[Any], torch.Tensor]
    scope: Literal["row", "column"]
    unit: str
    range: Range
    source: str
    kinds: tuple[Kind, ...]
    per_key: bool = False
    neutral: float | None = None

    @property
    def question(self) -> str:
        """The first line of the docstring: the question that the metric answers."""
        return inspect.getdoc(self.compute).splitlines()[0]  # type: ignore[union-attr]

    @property
    def page(self) -> str:
        """The whole docstring, as `attncli explain` prints it."""
        return inspect.getdoc(self.compute) or ""


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
