"""Notes on what a forward pass leaves out."""

import math
from collections.abc import Sequence

import numpy as np

from attncli.inputs.batches import Batch


def dropped_note(batches: Sequence[Batch], removed: Sequence[float]) -> tuple[str, ...]:
    """Return how much attention dropped special tokens had, or that there are none; `removed`: for each batch."""
    sides = (side for batch in batches for text in batch.inputs for side in (text.source, text.target))
    if not any(side is not None and side.special.any() for side in sides):
        return ("there are no special tokens, so --special drop changes nothing",)
    shares = [share for share in removed if not math.isnan(share)]
    share = [f"special tokens took {np.mean(shares):.0%} of the attention of the others; it is left out"]
    return tuple(share) if shares else ()
