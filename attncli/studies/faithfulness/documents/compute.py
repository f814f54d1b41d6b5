"""What the prediction of one text loses without its segments, beside attention and knock-outs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attncli.capturing.word_vectors import Side
from attncli.data import Array, Kind
from attncli.engine.progress import Advance, untracked
from attncli.engine.text_units import TextUnit
from attncli.studies.attribute.relevance import MeanAttention, predicting_rows, side_of
from attncli.studies.faithfulness.documents.subsets import has_all_subsets, shapley_of_all, subsets
from attncli.studies.faithfulness.documents.surrogate import Surrogate, logit_of
from attncli.studies.faithfulness.documents.units import document_units
from attncli.studies.faithfulness.options import FaithfulnessOptions
from attncli.studies.faithfulness.removal import TextRemover
from attncli.studies.faithfulness.text import StudiedText
from attncli.studies.knockout.compute import Variant
from attncli.studies.knockout.compute import measure as blocked_effects

_QUALITY = ("r2", "r2_held_out", "lds")
Units = Sequence[tuple[Side, TextUnit]]


def measured(text: StudiedText, options: FaithfulnessOptions, advance: Advance) -> Mapping[str, Any]:
    """Return what is measured on one text."""
    documents = document_units(text)
    units = documents.flat
    # the probability of a long answer would be 0
    measure = text.predictions if is_number(text) else replace(text.predictions, score="ln-probability")
    remover = replace(text.remover, predictions=measure, units=documents.left_out)
    full = float(responses(remover, options.removals[0], np.ones((1, len(units)), bool))[0])
    entry: dict[str, Any] = {
        "response": "number" if is_number(text) else "logit",
        "prediction": text.output.name,
        "segments": [unit.name for _, unit in units],
        "sides": [side for side, _ in units],
        "tokens": [len(unit.positions) for _, unit in units],
        "stay": list(documents.stay),
        "attention": attention_shares(text, units),
        "knockout": _knockouts(text, units, full),
        "full": full,
        "removals": [],
    }
    for removal in options.removals:
        entry["removals"].append(_without(remover, removal, options, len(text.output.ids)))
        advance(1 / len(options.removals))
    return entry


def is_number(text: StudiedText) -> bool:
    """Return whether the model predicts a number, which has no probability."""
    return text.output.by == "number"


def responses(remover: TextRemover, removal: str, kept: Array) -> Array:
    """Return the logit of the probability of the prediction, or the number itself, for subsets of the segments.

    kept  [subset, segment] bool
    """
    scores = remover.scores(removal, ~kept)
    return scores if remover.predictions.outputs[0].by == "number" else logit_of(scores)


def _without(remover: TextRemover, removal: str, options: FaithfulnessOptions, tokens: int) -> dict[str, Any]:
    """Return the effects of the segments for one removal."""
    segments = sum(map(len, remover.units.values()))
    every = has_all_subsets(segments, options.subsets)
    kept = subsets(segments, options.subsets, options.seed)
    ends = np.stack([np.ones(segments, bool), np.zeros(segments, bool)])
    given = np.concatenate([kept, ends, ~np.eye(segments, dtype=bool)])
    values = responses(remover, removal, given)
    of_subsets, full, empty, of_others = np.split(values, np.cumsum([len(kept), 1, 1]))
    surrogate = Surrogate.of(kept, of_subsets, tokens, not every, options.seed)
    return {
        "subsets": len(kept),
        "empty": float(empty[0]),
        "left_out": full[0] - of_others,
        "weights": surrogate.weights,
        "shapley": shapley_of_all(kept, of_subsets) if every else np.full(segments, np.nan),
        "fit": "lasso" if surrogate.sparse else "least-squares",
        **{name: getattr(surrogate, name) for name in _QUALITY},
    }


def attention_shares(text: StudiedText, units: Units) -> Array:
    """Return the attention from the rows that predict to each segment, mean over heads and layers, [segment]."""
    attention = MeanAttention(text.predictions)
    text.prepared.gather(more=attention.sinks)
    (by_side,) = attention.values()
    shares = [by_side[side][list(unit.positions)].sum() if side in by_side else np.nan for side, unit in units]
    return np.array(shares, dtype=np.float64)


def _knockouts(text: StudiedText, units: Units, full: float) -> Array:
    """Return how much the logit falls when the rows that predict cannot read a segment in any layer, [segment].

    NaN where weights cannot be edited and where no row reads the segment. A number is its own logit.
    """
    losses = np.full(len(units), np.nan)
    rows = predicting_rows(text.predictions, text.output)
    if any(site.no_edits for site in text.prepared.plan.sites if site.kind in rows):
        return losses
    kinds = {side_of(text.predictions, kind): kind for kind in rows}
    numbers = [number for number, (side, _) in enumerate(units) if side in kinds]
    variants = [_variant(text, kinds[units[number][0]], units[number][1]) for number in numbers]
    effects = blocked_effects(text.prepared, text.output, rows, variants, untracked, text.predictions.logits.shape[-1])
    losses[numbers] = full - (effects.score if is_number(text) else logit_of(effects.score))
    return losses


def _variant(text: StudiedText, kind: Kind, unit: TextUnit) -> Variant:
    layers = tuple(layer for of, layer in text.prepared.heads if of == kind)
    return Variant(kind, layers, unit.positions)
