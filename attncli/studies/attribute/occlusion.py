"""Occlusion: how the scores change without each token, word or segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from attncli.capturing.word_vectors import Side
from attncli.data import Array
from attncli.engine.progress import Track
from attncli.engine.text_units import TextUnit
from attncli.studies.attribute.predictions import Predictions

Tensor = torch.Tensor


@torch.inference_mode()
def occlusion(
    predictions: Predictions, baseline: Sequence[Tensor], units: Mapping[Side, Sequence[TextUnit]], track: Track
) -> Array:
    """Return the score of the text minus that without each unit, [output, unit]; many passes share a batch.

    units  those of each side, in the order of the result; those of special tokens alone stay, so nothing changes
    """
    without = [(number, unit.positions) for number, side in enumerate(units) for unit in units[side]]
    special = [tokens.special for tokens in predictions.tokens.values()]
    waiting = [row for row, (side, positions) in enumerate(without) if not special[side][list(positions)].all()]
    changes = np.zeros((len(predictions.outputs), len(without)))
    text = predictions.scores([of_side[None] for of_side in predictions.vectors])
    step = predictions.copies(gradients=False)
    with track("occluding", len(waiting), "passes") as advance:
        for start in range(0, len(waiting), step):
            part = waiting[start : start + step]
            vectors = [of_side.repeat(len(part), 1, 1) for of_side in predictions.vectors]
            for row, (side, positions) in enumerate(without[number] for number in part):
                vectors[side][row, list(positions)] = baseline[side][list(positions)]
            changes[:, part] = (text - predictions.scores(vectors)).T.cpu().numpy()
            advance(len(part))
    return changes
