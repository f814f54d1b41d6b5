"""Permuted attention: what a model predicts when the weights of each query are shuffled among its visible keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from attncli.capturing import Site
from attncli.capturing.bound_edits import layer_seed
from attncli.capturing.edited_weights import WeightEdit
from attncli.capturing.gates import LayerKey
from attncli.data import Array
from attncli.engine.progress import Advance
from attncli.studies.faithfulness.needed.distances import Tensor
from attncli.studies.faithfulness.needed.head_passes import EditedPrediction, HeadPasses


@dataclass(frozen=True, eq=False)
class Permuted:
    """The outputs for one text with permuted weights.

    distances  [seed] total variation distance from the output of the model
    changed    [seed] whether the model predicts something else
    """

    distances: Array
    changed: Array


def permute_weights(passes: HeadPasses, prediction: EditedPrediction, seeds: int, advance: Advance) -> Permuted:
    """Return the outputs with the weights of the chosen heads permuted by the seeds 0, 1, …, many in a batch.

    prediction  that of the model
    """
    step = passes.predictions.copies(gradients=False, weights=True)
    distances, changed = [], []
    for start in range(0, seeds, step):
        some = range(start, min(start + step, seeds))
        permuted = passes.predict(partial(_permute, some), len(some))
        distances.append(permuted.distance(prediction).cpu().numpy())
        changed += [name != prediction.names[0] for name in permuted.names]
        advance(len(some))
    return Permuted(np.concatenate(distances), np.array(changed))


def _permute(seeds: range, key: LayerKey, site: Site, where: Tensor) -> WeightEdit:
    return WeightEdit("permute", where, seeds=[layer_seed(seed, site) for seed in seeds])
