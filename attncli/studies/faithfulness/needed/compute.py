"""What is measured on each text, and the result over all texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array
from attncli.engine.progress import Advance
from attncli.engine.runner import Runner
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.faithfulness.needed.adversary import find_adversary
from attncli.studies.faithfulness.needed.head_passes import EditedPrediction, HeadPasses
from attncli.studies.faithfulness.needed.options import NeededOptions
from attncli.studies.faithfulness.needed.permuted import permute_weights
from attncli.studies.faithfulness.needed.result import Needed
from attncli.studies.faithfulness.needed.row_means import RowMeans
from attncli.studies.faithfulness.needed.seed_models import compare_seed, match_heads

_BACKWARD = 3
"""A step of the search takes as long as this many passes without gradients."""


@dataclass(frozen=True, eq=False)
class MeasuredText:
    """What is measured on one text."""

    predictions: Predictions
    options: NeededOptions

    def values(self, seeds: Sequence[Runner], advance: Advance) -> dict[str, Any]:
        """Return the numbers of the text; `advance` receives shares of the work that add up to 1.

        seeds  models of other seeds
        """
        options, passes = self.options, HeadPasses(self.predictions)
        work = options.permutations + _BACKWARD * options.adversarial_steps
        rows, prediction, of_uniform = passes.rows()
        means = RowMeans.of(passes, rows)
        permuted = permute_weights(passes, prediction, options.permutations, lambda done: advance(done / work))
        low, median, high = np.quantile(permuted.distances, (0.25, 0.5, 0.75)).tolist()
        values = {
            "prediction": prediction.names[0],
            "probability": float(prediction.ln_probability.exp()),
            "max_weight": means.largest_weight(),
            "permuted_tvd": median,
            "permuted_tvd_low": low,
            "permuted_tvd_high": high,
            "permuted_changed": float(permuted.changed.mean()),
            "uniform_tvd": float(of_uniform.distance(prediction)[0]),
            "uniform_jsd": means.divergence({key: of_layer.uniform for key, of_layer in rows.items()}),
            "uniform_prediction": of_uniform.names[0],
            "largest_jsd": means.largest_divergence(),
        }
        if options.adversarial_steps:
            values |= self._adversarial(passes, means, prediction, lambda done: advance(_BACKWARD * done / work))
        heads = [[*key, passes.heads(key), site.heads] for key, site in passes.sites.items()]
        compared = [self._seed(seed, passes, means, prediction) for seed in seeds]
        return {"heads": heads, "numbers": values, "seeds": compared}

    def _adversarial(
        self, passes: HeadPasses, means: RowMeans, prediction: EditedPrediction, advance: Advance
    ) -> dict[str, Any]:
        options = self.options
        found = find_adversary(passes, means, prediction, options.epsilon, options.adversarial_steps, advance)
        return {
            "adversarial_tvd": found.distance,
            "adversarial_jsd": means.divergence(found.weights),
            "adversarial_jsd_predicting": means.divergence(found.weights, predicting=True),
            "adversarial_probability": float(found.prediction.ln_probability.exp()),
            "adversarial_prediction": found.prediction.names[0],
            "adversarial_same": found.prediction.names == prediction.names,
        }

    @staticmethod
    def _seed(seed: Runner, passes: HeadPasses, means: RowMeans, prediction: EditedPrediction) -> dict[str, Any]:
        divergences, other = compare_seed(seed, passes, means)
        numbers = {
            "model": seed.loaded.name,
            "tvd": float(other.distance(prediction)[0]),
            "prediction": other.names[0],
            "same": other.names == prediction.names,
        }
        return {**divergences, "numbers": numbers}


def needed_result(measured: Sequence[Mapping[str, Any]], options: NeededOptions) -> Needed:
    """Return the result of what was measured on all texts."""
    heads = tuple((kind, layer, tuple(numbers), count) for kind, layer, numbers, count in measured[0]["heads"])
    names = measured[0]["numbers"]
    of_texts = {name: _column([of_text["numbers"][name] for of_text in measured]) for name in names}
    return Needed(
        heads,
        options.permutations,
        options.adversarial_steps,
        options.epsilon,
        {"text": np.array([of_text["text"] for of_text in measured]), **of_texts},
        _seed_columns(measured, [numbers for _, _, numbers, _ in heads]),
    )


def _seed_columns(measured: Sequence[Mapping[str, Any]], heads: Sequence[Sequence[int]]) -> dict[str, Array]:
    """Return a row per model of another seed and text."""
    parts: list[dict[str, Array]] = []
    for number in range(len(measured[0]["seeds"])):
        of_texts = [of_text["seeds"][number] for of_text in measured]
        matched = match_heads(of_texts, heads)
        numbers = {name: _column([of["numbers"][name] for of in of_texts]) for name in of_texts[0]["numbers"]}
        parts.append(
            {
                "model": numbers["model"],
                "text": np.arange(len(measured)),
                "jsd": matched.matched,
                "jsd_predicting": matched.predicting,
                "jsd_same_number": matched.same,
                **{name: numbers[name] for name in ("tvd", "prediction", "same")},
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _column(values: Sequence[Any]) -> Array:
    if isinstance(values[0], str):
        return np.array(values, dtype=object)
    return np.array(values) if isinstance(values[0], bool) else np.array([np.nan if v is None else v for v in values])
