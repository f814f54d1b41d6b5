"""How far long work is: counted in tokens, moved on by every block of rows, so that one long text shows it too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from attncli.data import Kind, Rows, Selection

if TYPE_CHECKING:  # to draw a saved run needs no torch
    from attncli.inputs.batches import Batch

Advance = Callable[[float], None]
"""Hears how much more is done."""
_GOLDEN = (math.sqrt(5) - 1) / 2


class Track(Protocol):
    """Shows how far some work is: what it is called, how much there is of it, counted in what."""

    def __call__(self, what: str, total: float, unit: str, /) -> AbstractContextManager[Advance]: ...


@contextmanager
def untracked(what: str, total: float, unit: str) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda done: None


def tokens_in(batch: Batch) -> int:
    """How many tokens a batch holds, targets too."""
    return batch.source_mask.numel() + (0 if batch.target_mask is None else batch.target_mask.numel())


def interleave_lengths(batches: Sequence[Batch]) -> list[Batch]:
    """The longest texts first, then all lengths evenly mixed.

    What does not fit into memory shows at once, and the time left is told from texts of every length.
    """
    longest_first = sorted(batches, key=lambda batch: max(length or 0 for length in batch.lengths), reverse=True)
    places = sorted(range(len(longest_first)), key=lambda at: at * _GOLDEN % 1)
    return [longest_first[at] for at in places]


class ProgressSink:
    """A sink that tells how much of a batch went by: its tokens, in shares of the rows of all heads."""

    def __init__(self, advance: Advance, batch: Batch, heads: Selection) -> None:
        rows = sum(
            len(numbers) * len(one.sides(kind)[0]) for (kind, _), numbers in heads.items() for one in batch.inputs
        )
        self._advance, self._tokens_per_row = advance, tokens_in(batch) / max(rows, 1)

    def add(self, rows: Rows) -> None:
        """Count the rows of a block."""
        self._advance(self._tokens_per_row * math.prod(rows.weights.shape[:3]))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Nothing is held back."""
