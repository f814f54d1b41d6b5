"""Progress of long work in tokens; every block of rows advances it, so that one long text shows progress too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from attncli.data import Kind, Rows, Selection

if TYPE_CHECKING:  # to draw a saved run needs no torch
    from attncli.inputs.batches import Batch

Advance = Callable[[float], None]
"""Receives the amount of work that was done since the last call."""
_GOLDEN = (math.sqrt(5) - 1) / 2


class Track(Protocol):
    """Shows the progress of some work: its name, its total amount and the unit of the amount."""

    def __call__(self, what: str, total: float, unit: str, /) -> AbstractContextManager[Advance]: ...


@contextmanager
def untracked(what: str, total: float, unit: str) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda done: None


def tokens_in(batch: Batch) -> int:
    """Return the number of tokens in a batch, including targets."""
    return batch.source_mask.numel() + (0 if batch.target_mask is None else batch.target_mask.numel())


def interleave_lengths(batches: Sequence[Batch]) -> list[Batch]:
    """Return batches with the longest texts first, then all lengths evenly mixed.

    So a lack of memory shows at once, and the remaining time is estimated from texts of all lengths.
    """
    longest_first = sorted(batches, key=lambda batch: max(length or 0 for length in batch.lengths), reverse=True)
    order = sorted(range(len(longest_first)), key=lambda index: index * _GOLDEN % 1)
    return [longest_first[index] for index in order]


class ProgressSink:
    """A sink that reports progress in tokens: each row of a head counts as its share of the tokens of the batch."""

    def __init__(self, advance: Advance, batch: Batch, heads: Selection) -> None:
        rows_of_kind = {
            kind: sum(len(text.sides(kind)[0]) for text in batch.inputs)
            for kind in dict.fromkeys(kind for kind, _ in heads)
        }
        rows = sum(len(numbers) * rows_of_kind[kind] for (kind, _), numbers in heads.items())
        self._advance, self._tokens_per_row = advance, tokens_in(batch) / max(rows, 1)

    def add(self, rows: Rows) -> None:
        self._advance(self._tokens_per_row * math.prod(rows.raw.shape[:3]))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Do nothing: rows are counted as they come."""
