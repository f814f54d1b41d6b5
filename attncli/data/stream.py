"""The stream of row blocks, what is summed up of it, and how a measure of it declares itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from attncli.data.tokens import Kind

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Rows:
    """One block of the stream: some queries x all their keys, for some heads of a layer, of a batch of texts.

    weights         [batch, head, row, key] after softmax, on the model's device, float32 or float64
    visible         bool, broadcastable to weights: the keys that each row may see; False for all padding
    query_positions [batch, row] position of each row in its unpadded text, one after the other; -1 for padding
    key_positions   [batch, key] the same for keys
    special_keys    [batch, key] which keys are special tokens
    heads           head numbers of the block
    texts           number of the text in each batch entry
    query_lengths   number of real queries in each text, of which the block holds some
    key_lengths     number of real keys in each text

    Weights are finite, and 0 wherever a real row meets a key that it may not see.
    """

    kind: Kind
    layer: int
    heads: tuple[int, ...]
    texts: tuple[int, ...]
    weights: torch.Tensor
    visible: torch.Tensor
    query_positions: torch.Tensor
    key_positions: torch.Tensor
    special_keys: torch.Tensor
    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]

    @cached_property
    def seen(self) -> torch.Tensor:
        """`visible` as [batch, 1 or head, row, key], without a copy."""
        batch, _, row, key = self.weights.shape
        return self.visible.expand(batch, -1, row, key)

    @cached_property
    def visible_count(self) -> torch.Tensor:
        """|S_i|: [batch, 1 or head, row] float64, how many keys each row may see."""
        return self.seen.sum(-1).double()

    @cached_property
    def real(self) -> torch.Tensor:
        """[batch, 1 or head, row] bool: which rows are real query tokens and can see at least one key."""
        return (self.query_positions >= 0)[:, None, :] & (self.visible_count > 0)

    @cached_property
    def _index(self) -> torch.Tensor:
        """[batch, position] where in the block each key is, -1 where it is not; the last entry is for padding."""
        import torch

        batch, keys = self.key_positions.shape
        none = max(self.key_lengths)
        index = self.key_positions.new_full((batch, none + 1), -1)
        slots = torch.where(self.key_positions < 0, none, self.key_positions)
        index.scatter_(1, slots, torch.arange(keys, device=slots.device).expand(batch, keys))
        return index

    def at(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights on the keys at these positions, and whether such keys exist and are visible.

        positions [batch, row, n] → weights [batch, head, row, n] and bool [batch, 1 or head, row, n]
        """
        import torch

        none = self._index.shape[1] - 1
        inside = torch.where((positions < 0) | (positions > none), none, positions)
        index = self._index.gather(1, inside.flatten(1)).view(inside.shape)[:, None]
        key = index.clamp_min(0)
        visible = self.seen.gather(-1, key.expand(-1, self.seen.shape[1], -1, -1))
        weights = self.weights.gather(-1, key.expand(-1, self.weights.shape[1], -1, -1))
        return weights, visible & (index >= 0)


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

    scope     row: `Rows` → [batch, head, row]; column: `Columns` → [batch, head]
    per_key   a column measure that keeps its keys: [batch, head, key]
    range     smallest and largest possible value, None where open or dependent on the text
    kinds     the kinds of attention for which it is defined
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
