"""From the effects on single texts to a ranking: means, intervals, tests, dead heads, and what attention predicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attncli.data import Array, Statistics
from attncli.engine.paired_tests import adjusted, intervals, sign_flip
from attncli.studies.importance.compute import Measured
from attncli.studies.importance.options import ImportanceOptions
from attncli.studies.importance.result import NO_EFFECT, ROUNDING, SIGNED, Importance
from attncli.vocabulary import CLASS_THRESHOLDS, SINK_THRESHOLD

SMALL_SHARE = 0.5
"""A head that writes less than this part of an equal share is small."""
_Z = 1.959963984540054


def summarise(measured: Measured, options: ImportanceOptions, statistics: Statistics) -> Importance:
    """Return the importance of all units, the largest main effect first.

    statistics  statistics of the attention of all heads on the same texts
    """
    means = {name: values.mean(1) for name, values in measured.effects.items()}
    main = next(iter(means))
    order = np.argsort(-_size(main, means[main]), kind="stable")
    units = [measured.units[number] for number in order]
    texts = measured.losses.shape[0]
    columns: dict[str, Array] = {
        "name": np.array([unit.name for unit in units]),
        "kind": np.array([unit.layer[0] for unit in units]),
        "layer": np.array([unit.layer[1] for unit in units]),
        "head": _column([unit.head for unit in units]),
    }
    if options.unit == "group":
        columns["group"] = np.array([unit.group for unit in units])
    columns["texts"] = np.full(len(units), texts)
    for name, values in measured.effects.items():
        low, high = intervals(values[order]).T
        columns |= {name: means[name][order], f"{name}_low": low, f"{name}_high": high}
    columns["contribution"] = measured.contributions.mean(1)[order]
    p = sign_flip(measured.effects[main][order]) if main in SIGNED else np.full(len(units), np.nan)
    columns |= {"p": p, "p_adjusted": adjusted(p)}
    columns["measurable"] = _measurable(main, columns)
    attention = _attention(statistics, units) if options.unit == "head" else {}
    columns["dead"] = _dead(main, columns, attention, measured)
    predictors = _predictors(_size(main, columns[main]), attention)
    loss = float(measured.losses.mean())
    of_run = (measured.task, options.method, options.unit, tuple(means))
    return Importance(*of_run, {**columns, **attention}, predictors, loss, texts)


def _size(main: str, values: Array) -> Array:
    """Return how much a head matters: a classifier loses probability, all other measures grow."""
    return -values if main == "probability" else values


def _column(values: list[Any]) -> Array:
    """Return whole numbers, or objects if some are None."""
    return np.array(values, dtype=object) if None in values else np.array(values)


def _measurable(main: str, columns: Mapping[str, Array]) -> Array:
    """Return whether the interval of the main effect leaves out 0; None without an interval."""
    low, high = columns[f"{main}_low"], columns[f"{main}_high"]
    least = 0.0 if main in SIGNED else ROUNDING
    ends = zip(low.tolist(), high.tolist(), strict=True)
    known = [None if math.isnan(a) else a > least or (main in SIGNED and b < 0) for a, b in ends]
    return np.array(known, dtype=object)


def _attention(statistics: Statistics, units: list[Any]) -> dict[str, Array]:
    """Return the statistics of attention of single heads, metric → [unit]."""
    columns: dict[str, Array] = {}
    for name, scores in statistics.heads.items():
        coords = (scores.coords[axis][1].tolist() for axis in ("kind", "layer", "head"))
        values = dict(zip(zip(*coords, strict=True), scores.values.tolist(), strict=True))
        columns[name] = np.array([values.get((*unit.layer, unit.head), math.nan) for unit in units])
    return columns


def _dead(main: str, columns: Mapping[str, Array], attention: Mapping[str, Array], measured: Measured) -> Array:
    """Return why a head is dead, None if it is not: it writes little, and removing it changes the output little.

    The reason is `uniform`, `sink with short values`, `zeroed by an edit`, or `no effect`. Only single heads have one,
    and only measured effects tell, not gradients.
    """
    reasons = np.full(len(columns["kind"]), None, dtype=object)
    if main == "gradient" or not attention:
        return reasons
    change = columns["kl"] if "kl" in columns else columns[main]
    layers = list(zip(columns["kind"].tolist(), columns["layer"].tolist(), strict=True))
    nothing = np.full(len(reasons), math.nan)
    uniform, sink = (attention.get(name, nothing) for name in ("entropy_normalized", "sink"))
    for row, layer in enumerate(layers):
        small = columns["contribution"][row] < SMALL_SHARE / measured.heads[layer]
        if not small or abs(columns[main][row]) >= NO_EFFECT or change[row] >= NO_EFFECT:
            continue
        if columns["head"][row] in measured.zeroed.get(layer, ()):
            reasons[row] = "zeroed by an edit"
        elif uniform[row] > CLASS_THRESHOLDS["uniform"]:
            reasons[row] = "uniform"
        else:
            reasons[row] = "sink with short values" if sink[row] >= SINK_THRESHOLD else "no effect"
    return reasons


def _predictors(effect: Array, attention: Mapping[str, Array]) -> dict[str, Array]:
    """Return the rank correlation of each statistic of attention with the effect over heads, the strongest first.

    Formula   Spearman's rho, with the interval tanh(atanh rho ± 1.96 sqrt((1 + rho²/2) / (n - 3)))
    Undefined a statistic with fewer than 6 heads, or with the same value for all of them, is left out
    Source    Bonett & Wright 2000
    """
    from scipy.stats import spearmanr

    rows = []
    for name, values in attention.items():
        known = ~np.isnan(values) & ~np.isnan(effect)
        count = int(known.sum())
        if count < 6 or np.ptp(values[known]) == 0 or np.ptp(effect[known]) == 0:
            continue
        rho = float(spearmanr(values[known], effect[known]).statistic)
        middle = math.atanh(min(max(rho, -0.999999), 0.999999))
        reach = _Z * math.sqrt((1 + rho**2 / 2) / (count - 3))
        rows.append((name, rho, math.tanh(middle - reach), math.tanh(middle + reach), count))
    rows.sort(key=lambda row: -abs(row[1]))
    names = ("statistic", "rho", "low", "high", "heads")
    return {name: np.array([row[column] for row in rows]) for column, name in enumerate(names)}
