"""The stream of row blocks: some queries x the keys that they may see."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attncli.data.tokens import Kind
from attncli.data.vectors import ScoreParts

if TYPE_CHECKING:
    import torch


NEAR = 8
"""How far from itself a row's diagonals are looked at, back and ahead."""


@dataclass(frozen=True, eq=False)
class Visibility:
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
        if self.runs is None:
            return 0
        rows, keys = self.runs
        return int(max(0, min(rows.start, keys.stop) - keys.start))

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
    def real_factor(self) -> torch.Tensor | None:
        """`real` as numbers to multiply with, [batch, 1 or head, row] float32; None where all rows see some key."""
        return None if self.runs is not None and self.clear[1] > self.clear[0] else self.real.float()

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
    visibility    which keys the rows may see
    scores   [batch, head, row, key] before softmax, less the largest of the row, so that raw = exp(scores). Finite,
             whatever it is where a key may not be seen. None where the model computed its weights itself
    scale    [batch, head, row] the factor, which is the largest weight of the row; None where raw are the weights
    largest  [batch, head, row] the largest score of the row, None with `scores`
    parts    what the scores are made of, where a sink asks for it
    norms    [batch, head, key] ‖f(x_j)‖, how long the vector is that a head would write of a key, were its weight 1;
             where a sink asks for it
    sums     [batch, head, row] sums of raw over the first `visibility.behind` keys, and over the others; None where nobody
             took them yet
    memory   what was worked out of all this
    """

    kind: Kind
    layer: int
    heads: tuple[int, ...]
    texts: tuple[int, ...]
    raw: torch.Tensor
    visibility: Visibility
    scores: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    largest: torch.Tensor | None = None
    parts: ScoreParts | None = None
    norms: torch.Tensor | None = None
    sums: tuple[torch.Tensor, torch.Tensor] | None = None
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

    @cached_property
    def factor(self) -> torch.Tensor:
        """`scale`, and 1 where raw are the weights: [batch, head, row]."""
        import torch

        return torch.ones_like(self.raw[..., 0]) if self.scale is None else self.scale

    @property
    def visible(self) -> torch.Tensor:
        """Which keys each row may see, broadcastable to the weights."""
        return self.visibility.visible

    @property
    def seen(self) -> torch.Tensor:
        """`visible` as [batch, 1 or head, row, key]."""
        return self.visibility.seen

    @property
    def visible_count(self) -> torch.Tensor:
        """|S_i|: [batch, 1 or head, row] float64."""
        return self.visibility.visible_count

    @property
    def real(self) -> torch.Tensor:
        """[batch, 1 or head, row] bool: rows that are real query tokens and can see at least one key."""
        return self.visibility.real

    @property
    def query_positions(self) -> torch.Tensor:
        """[batch, row], -1 for padding."""
        return self.visibility.query_positions

    @property
    def key_positions(self) -> torch.Tensor:
        """[batch, key], -1 for padding."""
        return self.visibility.key_positions

    @property
    def special_keys(self) -> torch.Tensor:
        """[batch, key] bool."""
        return self.visibility.special_keys

    @property
    def query_lengths(self) -> tuple[int, ...]:
        """Number of real queries in each text."""
        return self.visibility.query_lengths

    @property
    def key_lengths(self) -> tuple[int, ...]:
        """Number of real keys in each text."""
        return self.visibility.key_lengths

    def at(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights on the keys at these positions, and whether such keys exist and are visible.

        positions [batch, row, n] → weights [batch, head, row, n] and bool [batch, 1 or head, row, n]
        """
        return self._on(*self.visibility.slots(positions))

    @cached_property
    def near(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`at` the keys from `NEAR` back to `NEAR` ahead of each row."""
        return self._on(*self.visibility.near)

    def raw_on(self, key: torch.Tensor) -> torch.Tensor:
        """`raw` of the keys that the `visibility` has in these slots, [batch, 1, row, n] → [batch, head, row, n]."""
        return self.raw.gather(-1, key.expand(-1, self.raw.shape[1], -1, -1))

    def _on(self, key: torch.Tensor, visible: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scaled(self.raw_on(key)), visible
