"""What is summed up of the stream, and how a measure of it declares itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from attncli.data.tokens import Kind

if TYPE_CHECKING:
    import torch

RowSum = Callable[[Any], Any]
"""A sum over the keys of each row, or what else is left of it: `Rows` → [batch, 1 or head, row]."""


@dataclass(frozen=True, eq=False)
class RowSums:
    """All rows of a layer of a batch, their keys summed away: what is left for the measures that say what they need.

    factor         [batch, head, row] float64: by what each row is scaled, as that of `Rows`
    real           [batch, 1 or head, row] bool: which rows are real query tokens and can see at least one key
    visible_count  [batch, 1 or head, row] float64: |S_i|
    near           as that of `Rows`
    memory         the sums and what was taken of the visibility, by what made them
    """

    factor: torch.Tensor
    real: torch.Tensor
    visible_count: torch.Tensor
    near: tuple[torch.Tensor, torch.Tensor]
    memory: dict[Any, Any]

    @property
    def visibility(self) -> RowSums:
        """What there is of it, under the name that it has in `Rows`."""
        return self


@dataclass(frozen=True, eq=False)
class Columns:
    """What is left of a layer of a batch after all its rows went by: sums over rows for every key and offset.

    mass          [batch, head, key] float64: Σ_i A_ik over the rows that may see k
    seen          [batch, 1 or head, key] float64: how many real rows may see k
    offset_mass   [batch, head, offset] float64: Σ_i A_i,i+o over the rows for which i+o is visible
    offset_seen   [batch, 1 or head, offset] float64: how many rows that is
    offsets       the offsets o, -8 … 8
    rows          [batch, 1 or head] float64: real rows

    Keys stand at their positions in the unpadded text; no row sees those past the end of a shorter text.
    """

    kind: Kind
    mass: torch.Tensor
    seen: torch.Tensor
    offset_mass: torch.Tensor
    offset_seen: torch.Tensor
    offsets: tuple[int, ...]
    rows: torch.Tensor


Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Metric:
    """A measure and its declaration.

    scope     row: `Rows` or `RowSums` → [batch, head, row]; column: `Columns` → [batch, head]
    per_key   a column measure that keeps its keys: [batch, head, key]
    range     smallest and largest possible value, None where open or dependent on the text
    kinds     the kinds of attention for which it is defined
    needs     sums over keys that are all a row measure takes of the weights beside `near`: it can then be had of
              `RowSums`; None: it takes the weights themselves
    views     the same of what is visible: `Sight` → [batch, 1 or head, row]
    neutral   where a diverging colour scale has its middle (1 for a ratio, 0 for a signed offset), else None
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
    needs: tuple[RowSum, ...] | None = None
    views: tuple[RowSum, ...] = ()

    @property
    def question(self) -> str:
        """The first line of the docstring: the question that the metric answers."""
        return self.page.splitlines()[0]

    @property
    def page(self) -> str:
        """The whole docstring, as `attncli explain` prints it."""
        return inspect.getdoc(self.compute) or ""


Selection = Mapping[tuple[Kind, int], tuple[int, ...]]
"""Head numbers by kind and layer; what is not named is not selected."""
