"""The input of metrics, sums over the stream, and the declaration of a metric."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from attncli.data.described import Described
from attncli.data.tokens import KINDS, Kind, base_kind, has_scale

if TYPE_CHECKING:
    import torch

RowSum = Callable[[Any], Any]
"""A function that reduces the keys of each row to one number: `Rows` or `Visibility` → [batch, 1 or head, row]."""
Range = tuple[float | None, float | None]
Selection = Mapping[tuple[Kind, int], tuple[int, ...]]
"""Selected head numbers by kind and layer; kinds and layers without an entry are not selected."""


@dataclass(frozen=True, eq=False)
class RowSums:
    """All rows of one layer of a batch, reduced to the numbers that row metrics declare that they need.

    factor         [batch, head, row] float64: the factor of each row, as `Rows.factor`
    real           [batch, 1 or head, row] bool: rows that are real query tokens and have a visible key
    visible_count  [batch, 1 or head, row] float64: |S_i|
    near           as `Rows.near`
    cache          the declared numbers, by the function that computed them
    """

    factor: torch.Tensor
    real: torch.Tensor
    visible_count: torch.Tensor
    near: tuple[torch.Tensor, torch.Tensor]
    cache: dict[Any, Any]

    @property
    def visibility(self) -> RowSums:
        """Return itself: a metric reads the same attributes as from `Rows.visibility`."""
        return self


@dataclass(frozen=True, eq=False)
class Columns:
    """All rows of one layer of a batch, summed over rows for each key and each offset.

    mass          [batch, head, key] float64: Σ_i A_ik over the rows to which key k is visible
    visible_rows  [batch, 1 or head, key] float64: number of real rows to which key k is visible
    offset_mass   [batch, head, offset] float64: Σ_i A_i,i+o over the rows for which key i+o is visible, o = -8 … 8
    offset_rows   [batch, 1 or head, offset] float64: number of these rows
    rows          [batch, 1 or head] float64: number of real rows
    cache         what several metrics compute of these sums, by the function that computes it

    Keys are at their positions in the unpadded text; past the end of a shorter text no key is visible.
    """

    kind: Kind
    mass: torch.Tensor
    visible_rows: torch.Tensor
    offset_mass: torch.Tensor
    offset_rows: torch.Tensor
    rows: torch.Tensor
    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)


@dataclass(frozen=True, repr=False)
class Metric(Described):
    """A measure and its declaration.

    compute           the function: `Rows` or `RowSums` → [batch, head, row], or `Columns` → [batch, head]; float64, NaN
                      where undefined
    scope             row: a measure of single rows; column: a measure of sums over rows
    unit, range       unit, smallest and largest possible value (None if open or dependent on the text); by default
                      those of a share of attention
    kinds             the kinds of attention for which it is defined
    any_axes          whether it has a meaning for kinds with a scale too, whose rows and keys are not single tokens
    per_key           whether a column metric has one value per key: [batch, head, key]
    category          whether values are categories, such as positions: over texts the most frequent value counts, with
                      its share of the texts, instead of mean and standard deviation
    label             what pictures call it, such as "to the first token"; by default its name with spaces
    neutral           the middle of a diverging colour scale (1 for a ratio, 0 for a signed offset), else None
    needs             functions of `Rows` decorated with `cached` from which a row metric is computed, besides `near`:
                      it is then computed once per layer, from `RowSums`. None: from the weights of each block
    needs_visibility  the functions of `Visibility` from which it is computed
    """

    compute: Callable[[Any], torch.Tensor]
    scope: Literal["row", "column"]
    unit: str = "1"
    range: Range = (0.0, 1.0)
    source: str = ""
    kinds: tuple[Kind, ...] = KINDS
    any_axes: bool = False
    per_key: bool = False
    category: bool = False
    label: str = ""
    neutral: float | None = None
    needs: tuple[RowSum, ...] | None = None
    needs_visibility: tuple[RowSum, ...] = ()

    @property
    def name(self) -> str:
        return self.compute.__name__

    @property
    def question(self) -> str:
        """Return the first line of the docstring: the question that the metric answers."""
        return self.page.splitlines()[0]

    @property
    def page(self) -> str:
        """Return the whole docstring, as `attncli explain` prints it."""
        return inspect.getdoc(self.compute) or ""

    def _lines(self) -> Iterable[str]:
        low, high = self.range
        extent = ["" if low is None else f"from {low:g}", "" if high is None else f"up to {high:g}"]
        yield f"Metric {self.name} ({' '.join(filter(None, [self.unit, *extent]))}): {self.question}"


def is_defined_for(metric: Metric, kind: Kind) -> bool:
    """Return whether a metric has a meaning for a kind of attention."""
    return base_kind(kind) in metric.kinds and (metric.any_axes or not has_scale(kind))
