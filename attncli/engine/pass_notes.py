"""Notes on what a forward pass leaves out."""

import math
from collections.abc import Sequence

import numpy as np

from attncli.capturing import CapturePlan
from attncli.inputs.batches import Batch
from attncli.inputs.word_ids import word_notes


def refused_notes(plan: CapturePlan) -> list[str]:
    """Return a note for each layer that is left out."""
    return [f"{name} is left out: {reason}" for name, reason in plan.refused]


def text_notes(batches: Sequence[Batch], *, words: bool) -> list[str]:
    """Return the notes on the texts; `words`: whether their tokens are merged into words that attncli finds."""
    texts = [text for batch in batches for text in batch.inputs]
    return [*(note for batch in batches for note in batch.notes), *(word_notes(texts) if words else ())]


def dropped_note(batches: Sequence[Batch], removed: Sequence[float]) -> tuple[str, ...]:
    """Return how much attention dropped special tokens had, or that there are none; `removed`: for each batch."""
    sides = (side for batch in batches for text in batch.inputs for side in (text.source, text.target))
    if not any(side is not None and side.special.any() for side in sides):
        return ("there are no special tokens, so --special drop changes nothing",)
    shares = [share for share in removed if not math.isnan(share)]
    share = [f"special tokens took {np.mean(shares):.0%} of the attention of the others; it is left out"]
    return tuple(share) if shares else ()
