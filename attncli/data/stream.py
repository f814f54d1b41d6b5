"""The stream of row blocks, what is summed up of it, and how a measure of it declares itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from attncli.data.tokens import Kind

if TYPE_CHECKING:
    import torch


NEAR = 8
"""How far from itself a row's diagonals are looked at, back and ahead."""


@dataclass(frozen=True, eq=False)
class Sight:
    """Where the rows and keys of a block stand and which keys each row may see: the same for the blocks of all heads.

    visible         bool, broadcastable to [batch, head, row, key]: the keys that each row may see; False for padding
    query_positions [batch, row] position of each row in its unpadded text, one after the other; -1 for padding
    key_positions   [batch, key] the same for keys, which need not be all keys of the text
    special_keys    [batch, key] which keys are special tokens
    query_lengths   number of real queries in each text, of which the block holds some
    key_lengths     number of real keys in each text, of which the block holds all that its rows may see
    special_counts  number of special tokens among the real keys of each text
    clear           from which of these keys up to which all rows see all
    ahead           whether some row may see a key after it
    runs            the positions of the rows and of the keys, where they are the same in all texts and without gaps
    memory          what was worked out of all this
    """

    visible: torch.Tensor
    query_positions: torch.Tensor
    key_positions: torch.Tensor
    special_keys: torch.Tensor
    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    special_counts: tuple[int, ...]
    clear: tuple[int, int] = (0, 0)
    ahead: bool = True
    runs: tuple[slice, slice] | None = None
    memory: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def behind(self) -> int:
        """So many of the first keys are known to stand before every row."""
        return 0 if self.runs is None else max(0, self.runs[0].start - self.runs[1].start)

    @cached_property
    def seen(self) -> torch.Tensor:
        """`visible` as [batch, 1 or head, row, key], without a copy."""
        return self.visible.expand(
            len(self.key_lengths), -1, self.query_positions.shape[1], self.key_positions.shape[1]
        )

    @cached_property
    def visible_count(self) -> torch.Tensor:
        """|S_i|: [batch, 1 or head, row] float64, how many keys each row may see."""
        left, right = (part.sum(-1).double() for part in self._sides)
        return left + right + (self.clear[1] - self.clear[0])

    @cached_property
    def seen_by(self) -> torch.Tensor:
        """[batch, 1 or head, key] float64, how many rows of the block may see each key."""
        import torch

        left, right = (part.sum(-2).double() for part in self._sides)
        middle = left.new_full((), self.seen.shape[2]).expand(*left.shape[:2], self.clear[1] - self.clear[0])
        return torch.cat([left, middle, right], dim=-1)

    @property
    def _sides(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What is seen left and right of the clear keys."""
        return self.seen[..., : self.clear[0]], self.seen[..., self.clear[1] :]

    @cached_property
    def real(self) -> torch.Tensor:
        """[batch, 1 or head, row] bool: which rows are real query tokens and can see at least one key."""
        return (self.query_positions >= 0)[:, None, :] & (self.visible_count > 0)

    @cached_property
    def real_factor(self) -> torch.Tensor:
        """`real` as numbers to multiply with: [batch, 1 or head, row] float32."""
        return self.real.float()

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

    @cached_property
    def near(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The `slots` from `NEAR` back to `NEAR` ahead of each row."""
        import torch

        steps = torch.arange(-NEAR, NEAR + 1, device=self.query_positions.device)
        return self.slots(self.query_positions[..., None] + steps)

    def slots(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where in the block the keys at these positions are, and whether they are there and visible.

        positions [batch, row, n] → numbers [batch, 1, row, n], 0 for no key, and bool [batch, 1 or head, row, n]
        """
        import torch

        if self.runs is None:
            none = self._index.shape[1] - 1
            inside = torch.where((positions < 0) | (positions > none), none, positions)
            index = self._index.gather(1, inside.flatten(1)).view(inside.shape)[:, None]
        else:
            index = (positions - self.runs[1].start)[:, None]
        key = index.clamp(0, self.seen.shape[3] - 1)
        visible = self.seen.gather(-1, key.expand(-1, self.seen.shape[1], -1, -1))
        return key, visible & (index == key)


@dataclass(frozen=True, eq=False)
class Rows:
    """One block of the stream: some queries x all the keys that they may see, for some heads, of a batch of texts.

    heads    head numbers of the block
    texts    number of the text in each batch entry
    raw      [batch, head, row, key] weights up to a factor for each row, on the model's device, float32 or float64;
             finite, and 0 wherever a real row meets a key that it may not see
    sight    which keys the rows may see
    scores   [batch, head, row, key] before softmax, less the largest of the row, so that raw = exp(scores). Finite,
             whatever it is where a key may not be seen. None where the model computed its weights itself
    scale    [batch, head, row] the factor, which is the largest weight of the row; None where raw are the weights
    memory   what was worked out of all this
    """

    kind: Kind
    layer: int
    heads: tuple[int, ...]
    texts: tuple[int, ...]
    raw: torch.Tensor
    sight: Sight
    scores: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    memory: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def weights(self) -> torch.Tensor:
        """[batch, head, row, key] after softmax."""
        return self.scaled(self.raw)

    def scaled(self, sums: torch.Tensor) -> torch.Tensor:
        """Sums of `raw`, [batch, head, row] or [batch, head, row, n], as if they were of the weights."""
        if self.scale is None:
            return sums
        return sums * (self.scale if sums.dim() == 3 else self.scale[..., None])

    @property
    def visible(self) -> torch.Tensor:
        """Which keys each row may see, broadcastable to the weights."""
        return self.sight.visible

    @property
    def seen(self) -> torch.Tensor:
        """`visible` as [batch, 1 or head, row, key]."""
        return self.sight.seen

    @property
    def visible_count(self) -> torch.Tensor:
        """|S_i|: [batch, 1 or head, row] float64."""
        return self.sight.visible_count

    @property
    def real(self) -> torch.Tensor:
        """[batch, 1 or head, row] bool: rows that are real query tokens and can see at least one key."""
        return self.sight.real

    @property
    def query_positions(self) -> torch.Tensor:
        """[batch, row], -1 for padding."""
        return self.sight.query_positions

    @property
    def key_positions(self) -> torch.Tensor:
        """[batch, key], -1 for padding."""
        return self.sight.key_positions

    @property
    def special_keys(self) -> torch.Tensor:
        """[batch, key] bool."""
        return self.sight.special_keys

    @property
    def query_lengths(self) -> tuple[int, ...]:
        """Number of real queries in each text."""
        return self.sight.query_lengths

    @property
    def key_lengths(self) -> tuple[int, ...]:
        """Number of real keys in each text."""
        return self.sight.key_lengths

    def at(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights on the keys at these positions, and whether such keys exist and are visible.

        positions [batch, row, n] → weights [batch, head, row, n] and bool [batch, 1 or head, row, n]
        """
        return self.on(*self.sight.slots(positions))

    @cached_property
    def near(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`at` the keys from `NEAR` back to `NEAR` ahead of each row."""
        return self.on(*self.sight.near)

    def on(self, key: torch.Tensor, visible: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scaled(self.raw.gather(-1, key.expand(-1, self.raw.shape[1], -1, -1))), visible


RowSum = Callable[[Any], Any]
"""A sum over the keys of each row, or what else is left of it: `Rows` → [batch, 1 or head, row]."""


@dataclass(frozen=True, eq=False)
class RowSums:
    """All rows of a layer of a batch, their keys summed away: what is left for the measures that say what they need.

    real           [batch, 1 or head, row] bool: which rows are real query tokens and can see at least one key
    visible_count  [batch, 1 or head, row] float64: |S_i|
    near           as that of `Rows`
    memory         the sums and what was taken of the sight, by what made them
    """

    real: torch.Tensor
    visible_count: torch.Tensor
    near: tuple[torch.Tensor, torch.Tensor]
    memory: dict[Any, Any]

    @property
    def sight(self) -> RowSums:
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
