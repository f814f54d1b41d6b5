"""The ranking of heads from their numbers in each text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import KINDS, Array, Kind, Scores, Selection
from attncli.studies.find.result import LeaveOneOut, head_scores, leave_one_out, most_frequent

_MEANS = ("weight", "weight_uniform", "weight_positional", "rank", "keys", "top_weight", "top_share")
TextMeans = Mapping[tuple[Kind, int], Mapping[int, Mapping[str, Array]]]
"""The numbers of each head [head] by kind and layer, then by text."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """The heads in the order of their weights: the fields of `RankedHeads`, and `first`, the first head."""

    first: tuple[Kind, int, int]
    scores: Mapping[str, Scores]
    std: Array | None
    top: Array
    leave_one_out: LeaveOneOut | None


def rank_heads(means: TextMeans, heads: Selection) -> Ranking:
    """Return the means over texts, ordered by weight; equal weights in the order of kind, layer and head."""
    layers = sorted(means, key=lambda key: (KINDS.index(key[0]), key[1]))
    keys = [(kind, layer, head) for kind, layer in layers for head in sorted(heads[kind, layer])]
    texts = sorted({text for of_layer in means.values() for text in of_layer})
    values = {name: _joined(means, layers, texts, name) for name in (*_MEANS, "queries")}
    weights, several = values["weight"], len(texts) > 1
    over_texts = {name: _mean(of_texts) for name, of_texts in values.items()}
    top, over_texts["top_share"] = _tops(_joined(means, layers, texts, "top"), over_texts["top_share"])
    order = np.argsort(-over_texts["weight"], kind="stable")
    columns = {name: column_of([key[axis] for key in keys]) for axis, name in enumerate(("kind", "layer", "head"))}
    columns["texts"] = (~np.isnan(weights)).sum(0)
    columns["queries"] = np.nansum(values["queries"], axis=0).astype(np.int64)
    coords = {name: ("head", column[order]) for name, column in columns.items()}
    return Ranking(
        keys[order[0]],
        head_scores({name: column[order] for name, column in over_texts.items()}, coords),
        _std(weights)[order] if several else None,
        top[order],
        leave_one_out(weights, int(order[0])) if several else None,
    )


def _joined(means: TextMeans, layers: Sequence[tuple[Kind, int]], texts: Sequence[int], name: str) -> Array:
    """Return one number of all heads in all texts: [text, head], NaN (None for `top`) where a text has none."""
    columns = []
    for key in layers:
        some = next(iter(means[key].values()))[name]
        missing = np.full(len(some), None if some.dtype == object else np.nan, some.dtype)
        columns.append(np.stack([means[key][text][name] if text in means[key] else missing for text in texts]))
    return np.concatenate(columns, axis=1)


def _mean(values: Array) -> Array:
    """Return the mean over texts [head] of the defined values [text, head]; NaN without any."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0.0).sum(0) / defined.sum(0))


def _std(values: Array) -> Array:
    """Return the population standard deviation over texts [head] of the defined values; NaN without any."""
    return np.sqrt(_mean((values - _mean(values)) ** 2))


def _tops(tops: Array, share_of_rows: Array) -> tuple[Array, Array]:
    """Return [head] the strongest key, and the share of the rows (of several texts: of the texts) that have it."""
    if len(tops) == 1:
        return tops[0], share_of_rows
    names = [[name for name in of_head if name is not None] for of_head in tops.T]
    pairs = [most_frequent(of_head) if of_head else (None, np.nan) for of_head in names]
    return np.array([top for top, _ in pairs], dtype=object), np.array([share for _, share in pairs])


def column_of(entries: Sequence[Any]) -> Array:
    """Return numbers as an array of numbers, texts as objects."""
    return np.array(entries, dtype=object if isinstance(entries[0], str) else None)
