"""How well values find gold units: areas under curves, token F1, and whether the first unit is gold."""

from __future__ import annotations

import numpy as np

from attncli.data import Array


def average_precision(values: Array, gold: Array) -> float:
    """Return the area under the precision-recall curve; NaN without gold units.

    Formula   sum over distinct values, from the largest, of (recall - recall before) * precision
    Axes      values [unit], gold [unit] bool
    Range     0 ... 1; of random values about the share of gold units
    Source    sklearn.metrics.average_precision_score
    """
    if not gold.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(gold[order])
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def area_under_roc(values: Array, gold: Array) -> float:
    """Return how probable it is that a gold unit has a larger value than another; equal values count half.

    Axes      values [unit], gold [unit] bool
    Undefined NaN if all units or none are gold
    Source    sklearn.metrics.roc_auc_score
    """
    if gold.all() or not gold.any():
        return float("nan")
    ordered = np.sort(values[~gold])
    below, not_above = (np.searchsorted(ordered, values[gold], side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(ordered))


def token_f1(order: Array, gold: Array) -> float:
    """Return the F1 of as many first units as there are gold units: precision and recall are equal then."""
    count = int(gold.sum())
    return float(gold[order[:count]].mean()) if count else float("nan")


def first_hit(order: Array, gold: Array) -> float:
    """Return 1 if the first unit is gold, else 0; NaN without gold units."""
    return float(gold[order[0]]) if gold.any() else float("nan")
