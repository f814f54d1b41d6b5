"""Models of the same shape that were trained from other seeds: how much attention and output vary by training alone.

Nothing orders the heads of a layer, so head 3.1 of one model may do what head 3.2 of another does. The heads of each
layer are matched over all texts; the divergence of heads with the same number is given too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attncli.capturing import Shadow
from attncli.data import Array
from attncli.engine.explained_labels import label_names
from attncli.engine.passes import Pass
from attncli.engine.runner import Runner, load_runner
from attncli.errors import UsageError
from attncli.studies.faithfulness.needed.distances import jensen_shannon
from attncli.studies.faithfulness.needed.head_passes import EditedPrediction, HeadPasses
from attncli.studies.faithfulness.needed.row_means import RowMeans
from attncli.vocabulary import DTYPES

if TYPE_CHECKING:
    from attncli.engine.execution import Execution

_FROM_HEAD = "auto-head"


def load_seed_models(execution: Execution, names: Sequence[str]) -> tuple[Runner, ...]:
    """Return the models; raise UsageError unless they have the shape, the labels and the vocabulary of the model."""
    model, arguments = execution.runner, {name: of for name, of in execution.arguments.items() if name != "revision"}
    if not arguments:  # the model was loaded in Python
        dtype = model.loaded.dtype if model.loaded.dtype in DTYPES else "auto"
        arguments = {"head": _FROM_HEAD, "dtype": dtype, "device": str(model.loaded.device)}
    others = []
    for name in names:
        other = load_runner({**arguments, "name": name})
        other = replace(other, loaded=replace(other.loaded, edits=model.loaded.edits))
        check_same_shape(model, other, execution.request.capture)
        others.append(other)
    return tuple(others)


def check_same_shape(model: Runner, other: Runner, capture: str) -> None:
    """Raise UsageError unless two models have the same heads, labels and vocabulary."""
    name = f"--seed-models: {other.loaded.name}"
    classes = [type(one.loaded.model).__name__ for one in (model, other)]
    if classes[0] != classes[1]:
        raise UsageError(f"{name} is a {classes[1]}, expected a {classes[0]}")
    if other.loaded.initialised:
        raise UsageError(f"{name} lacks weights of its output, which would be random: give a trained model")
    heads, of_other = (
        {(site.kind, site.layer): site.heads for site in one.plan(capture).sites} for one in (model, other)
    )
    if heads != of_other:
        sizes = [f"{len(one)} layers of {max(one.values(), default=0)} heads" for one in (of_other, heads)]
        raise UsageError(f"{name} has {sizes[0]}, {model.loaded.name} {sizes[1]}: give models of the same shape")
    for side in ("tokenizer", "target_tokenizer"):
        vocabularies = [getattr(one.loaded, side) and getattr(one.loaded, side).get_vocab() for one in (model, other)]
        if vocabularies[0] != vocabularies[1]:
            raise UsageError(f"{name} has another vocabulary than {model.loaded.name}: its tokens are not the same")
    labels = [_labels(one) for one in (model, other)]
    if labels[0] != labels[1]:
        raise UsageError(f"{name} has the labels {', '.join(labels[1])}, expected {', '.join(labels[0])}")


def _labels(model: Runner) -> list[str]:
    return label_names(model.loaded, int(getattr(model.loaded.model.config, "num_labels", 0) or 0))


def compare_seed(other: Runner, passes: HeadPasses, means: RowMeans) -> tuple[dict[str, Any], EditedPrediction]:
    """Return the divergences of one text between the heads of a model and of another, as plain values; and its output.

    means  the weights of the model
    The sums over rows are [chosen head, head of the other model] for each layer, in the order of `means.layers`.
    """
    of_other = _passes_of(other, passes)
    other_rows, prediction, _ = of_other.rows()
    divergences: dict[str, list[Any]] = {"sums": [], "predicting_sums": [], "counts": []}
    for key, of_layer in means.layers.items():
        heads = [jensen_shannon(of_head, other_rows[key].weights) for of_head in of_layer.weights]
        of_each, chosen = torch.stack(heads), (of_layer.free, means.predicting[key])
        for name, of_rows in zip(("sums", "predicting_sums"), chosen, strict=True):
            divergences[name].append((of_each * of_rows[:, None]).sum(-1).tolist())
        divergences["counts"].append([int(of_rows.sum()) for of_rows in chosen])
    return divergences, prediction


def _passes_of(other: Runner, passes: HeadPasses) -> HeadPasses:
    """Return passes of another model over the same tokens, with all heads of the chosen layers."""
    predictions, loaded = passes.predictions, other.loaded
    plain = predictions.prepared
    prepared = Pass.prepare(loaded, other.plan(plain.request.capture), plain.batches, plain.request)
    heads = {key: tuple(range(site.heads)) for key, site in passes.sites.items()}
    shadow = Shadow(loaded.model)
    given: dict[str, Any] = {"prepared": replace(prepared, heads=heads), "shadow": shadow, "fast": shadow}
    return HeadPasses(replace(predictions, word_vectors={}, **given))


@dataclass(frozen=True, eq=False)
class MatchedHeads:
    """The mean divergences of the rows of one other model, for each text.

    same        [text] of heads with the same number
    matched     [text] of matched heads
    predicting  [text] of matched heads, over the rows from which predictions are computed
    """

    same: Array
    matched: Array
    predicting: Array


def match_heads(of_texts: Sequence[Mapping[str, Any]], heads: Sequence[Sequence[int]]) -> MatchedHeads:
    """Return the divergences with the matching of each layer that has the least divergence over all texts.

    of_texts  what `compare_seed` returned for each text
    heads     numbers of the chosen heads of each layer
    """
    same, matched, predicting = (np.zeros(len(of_texts)) for _ in range(3))
    for layer, numbers in enumerate(heads):
        sums, predicting_sums = (np.array([of[name][layer] for of in of_texts]) for name in ("sums", "predicting_sums"))
        own, others = _assignment()(sums.sum(0))
        same += sums[:, own, list(numbers)].sum(1)
        matched += sums[:, own, others].sum(1)
        predicting += predicting_sums[:, own, others].sum(1)
    free, reading = np.array([np.sum(of["counts"], axis=0) for of in of_texts], dtype=float).T
    counts = (np.where(count > 0, count, np.nan) for count in (free, free, reading))
    return MatchedHeads(*(total / count for total, count in zip((same, matched, predicting), counts, strict=True)))


def _assignment() -> Any:
    """Return the function of SciPy that matches rows and columns; raise UsageError if SciPy is not installed."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise UsageError('--seed-models matches heads by SciPy: pip install "attncli[analyses]"') from error
    return linear_sum_assignment
