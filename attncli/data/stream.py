"""The blocks of rows that capture streams: some queries and the keys that they may attend to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attncli.data.cached import cached_property
from attncli.data.tokens import Kind

if TYPE_CHECKING:
    import torch


MAX_OFFSET = 8
"""Largest distance between query and key at which single diagonals are measured, in both directions."""


@dataclass(frozen=True, eq=False)
class Visibility:
    """Positions and mask of one block of rows; the blocks of all heads share one instance.

    For a kind with a scale, positions are the numbers of its rows and keys, which are no tokens.

    visible          bool, broadcastable to [batch, head, row, key]: keys visible to each row; False for padding
    query_positions  [batch, row] position of each row in its unpadded text, ascending without gaps; -1 for padding
    key_positions    [batch, key] position of each key in its unpadded text, -1 for padding; some keys may be missing
    special_keys     [batch, key] bool: special tokens
    query_lengths    number of real queries in each text (of the whole text, not of the block)
    key_lengths      number of real keys in each text; the block has at least the visible ones
    special_counts   number of special tokens among the real keys of each text
    common_keys      (start, stop) of the keys of the block that are visible to every row
    sees_ahead       whether a key after its own position is visible to a row
    slices           positions of the rows and of the keys, if they are the same in all texts and have no gaps
    cache            results computed from this instance, by the function that computed them
    """

    visible: torch.Tensor
    query_positions: torch.Tensor
    key_positions: torch.Tensor
    special_keys: torch.Tensor
    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    special_counts: tuple[int, ...]
    common_keys: tuple[int, int] = (0, 0)
    sees_ahead: bool = True
    slices: tuple[slice, slice] | None = None
    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def keys_before(self) -> int:
        """Return how many of the first keys of the block are known to be before every row."""
        if self.slices is None:
            return 0
        rows, keys = self.slices
        return int(max(0, min(rows.start, keys.stop) - keys.start))

    @cached_property
    def visible_pairs(self) -> torch.Tensor:
        """Return `visible` expanded to [batch, 1 or head, row, key], without a copy."""
        return self.visible.expand(
            len(self.key_lengths), -1, self.query_positions.shape[1], self.key_positions.shape[1]
        )

    @cached_property
    def visible_count(self) -> torch.Tensor:
        """Return |S_i|, the number of keys visible to each row: [batch, 1 or head, row] float64."""
        left, right = (part.sum(-1).double() for part in self._outside_common_keys)
        return left + right + (self.common_keys[1] - self.common_keys[0])

    @cached_property
    def visible_rows(self) -> torch.Tensor:
        """Return the number of rows of the block to which each key is visible: [batch, 1 or head, key] float64."""
        import torch

        left, right = (part.sum(-2).double() for part in self._outside_common_keys)
        start, stop = self.common_keys
        common = left.new_full((), self.visible_pairs.shape[2]).expand(*left.shape[:2], stop - start)
        return torch.cat([left, common, right], dim=-1)

    @property
    def _outside_common_keys(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `visible_pairs` left and right of the common keys."""
        return self.visible_pairs[..., : self.common_keys[0]], self.visible_pairs[..., self.common_keys[1] :]

    @cached_property
    def real(self) -> torch.Tensor:
        """Return which rows are real query tokens with a visible key: [batch, 1 or head, row] bool."""
        return (self.query_positions >= 0)[:, None, :] & (self.visible_count > 0)

    @cached_property
    def real_factor(self) -> torch.Tensor | None:
        """Return `real` as float32 for multiplication, or None if every row has a visible key."""
        all_real = self.slices is not None and self.common_keys[1] > self.common_keys[0]
        return None if all_real else self.real.float()

    @cached_property
    def _key_index(self) -> torch.Tensor:
        """Return the index in the block of the key at each position: [batch, position], -1 for a missing key.

        The last entry is for all positions outside of the text.
        """
        import torch

        batch, keys = self.key_positions.shape
        outside = max(self.key_lengths)
        index = self.key_positions.new_full((batch, outside + 1), -1)
        positions = self.key_positions.masked_fill(self.key_positions < 0, outside)
        index.scatter_(1, positions, torch.arange(keys, device=positions.device).expand(batch, keys))
        return index

    @cached_property
    def near(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `find_keys` for the keys at the offsets -`MAX_OFFSET` ... `MAX_OFFSET` from each row."""
        import torch

        offsets = torch.arange(-MAX_OFFSET, MAX_OFFSET + 1, device=self.query_positions.device)
        return self.find_keys(self.query_positions[..., None] + offsets)

    def find_keys(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the keys at these positions are in the block, and whether each is in it and visible.

        positions [batch, row, n] → indices [batch, 1, row, n], any valid index for a missing key, and
        bool [batch, 1 or head, row, n].
        """
        if self.slices is None:
            outside = self._key_index.shape[1] - 1
            inside = positions.masked_fill((positions < 0) | (positions > outside), outside)
            index = self._key_index.gather(1, inside.flatten(1)).view(inside.shape)[:, None]
        else:
            index = (positions - self.slices[1].start)[:, None]
        key = index.clamp(0, self.visible_pairs.shape[3] - 1)
        visible = self.visible_pairs.gather(-1, key.expand(-1, self.visible_pairs.shape[1], -1, -1))
        return key, visible & (index == key)


@dataclass(frozen=True, eq=False)
class RowTotals:
    """Sums over the keys of each row of a block, of the raw weights r: [batch, head, row] each.

    before    Σ_j r_ij over the first `Visibility.keys_before` keys; 0 if `rest` is the sum over all keys
    rest      Σ_j r_ij over the other keys
    log       Σ_j r_ij ln r_ij over all keys; None if not computed yet
    offset    Σ_j r_ij (j-i) over all keys; None if not computed yet
    distance  Σ_j r_ij |j-i| over all keys; None if not computed yet
    """

    before: torch.Tensor
    rest: torch.Tensor
    log: torch.Tensor | None = None
    offset: torch.Tensor | None = None
    distance: torch.Tensor | None = None

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> RowTotals:
        """Return the sums with each tensor changed."""
        tensors = {name: tensor for name, tensor in vars(self).items() if tensor is not None}
        return RowTotals(**{name: change(tensor) for name, tensor in tensors.items()})


@dataclass(frozen=True, eq=False)
class ScoreParts:
    """The query and key vectors of one attention call, on the model's device; `Vectors` explains the fields.

    query  [batch, head, query, dim] for all heads and tokens of texts without padding
    key    [batch, key head, key, dim]
    """

    query: torch.Tensor
    key: torch.Tensor
    scale: float
    softcap: float | None
    bias: bool


@dataclass(frozen=True, eq=False)
class Rows:
    """One block of the stream: the attention of some queries of a batch of texts, for some heads of one layer.

    heads       head numbers of the block
    texts       number of the text of each batch entry
    raw         [batch, head, row, key] weights divided by one factor per row, on the model's device, float32 or
                float64; finite, and 0 on the masked keys of real rows
    visibility  positions and mask of the block
    scores      [batch, head, row, key] scores (before softmax) minus the largest of the row, so that
                raw = exp(scores); finite, arbitrary on masked keys. None if the model computed its weights itself,
                or if compiled code computed the sums
    scale       [batch, head, row] the factor of each row; its largest weight if `largest` is known; None if `raw` are
                the weights
    largest     [batch, head, row] largest score of each row; None if unknown
    parts       queries and keys from which the scores are computed, if a sink asks for them
    norms       [batch, head, key] ‖f(x_j)‖, norm of the vector that a head writes for a key of weight 1, if a sink
                asks for it
    sums        sums of `raw` over the keys of each row; None if not computed yet
    cache       results computed from this block, by the function that computed them
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
    sums: RowTotals | None = None
    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def weights(self) -> torch.Tensor:
        """Return the attention weights (after softmax): [batch, head, row, key]."""
        return self.scaled(self.raw)

    def scaled(self, sums: torch.Tensor) -> torch.Tensor:
        """Multiply sums of `raw`, [batch, head, row] or [batch, head, row, n], to make them sums of the weights."""
        if self.scale is None:
            return sums
        return sums * (self.scale if sums.dim() == 3 else self.scale[..., None])

    @cached_property
    def factor(self) -> torch.Tensor:
        """Return `scale`, or ones if `raw` are the weights: [batch, head, row]."""
        return self.raw.new_ones(self.raw.shape[:3]) if self.scale is None else self.scale

    # The fields of the visibility, under the same names.

    @property
    def visible_pairs(self) -> torch.Tensor:
        return self.visibility.visible_pairs

    @property
    def visible_count(self) -> torch.Tensor:
        return self.visibility.visible_count

    @property
    def real(self) -> torch.Tensor:
        return self.visibility.real

    @property
    def query_positions(self) -> torch.Tensor:
        return self.visibility.query_positions

    @property
    def key_positions(self) -> torch.Tensor:
        return self.visibility.key_positions

    @property
    def query_lengths(self) -> tuple[int, ...]:
        return self.visibility.query_lengths

    @property
    def key_lengths(self) -> tuple[int, ...]:
        return self.visibility.key_lengths

    def weights_at(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights on the keys at these positions, and whether these keys exist and are visible.

        positions [batch, row, n] → weights [batch, head, row, n] and bool [batch, 1 or head, row, n].
        """
        key, visible = self.visibility.find_keys(positions)
        return self.scaled(self.raw_at(key)), visible

    @cached_property
    def near(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `weights_at` the offsets -`MAX_OFFSET` ... `MAX_OFFSET` from each row."""
        key, visible = self.visibility.near
        return self.scaled(self.raw_at(key)), visible

    def raw_at(self, key: torch.Tensor) -> torch.Tensor:
        """Return `raw` for key indices of the block: [batch, 1, row, n] → [batch, head, row, n]."""
        return self.raw.gather(-1, key.expand(-1, self.raw.shape[1], -1, -1))
