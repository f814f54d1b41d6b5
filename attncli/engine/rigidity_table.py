"""A table of the rigidity of heads over texts: on training texts, and the difference to held-out ones."""

from __future__ import annotations

import numpy as np

from attncli.data import Array
from attncli.engine.paired_tests import adjusted, intervals
from attncli.engine.two_sample_tests import difference_intervals, label_permutation
from attncli.stream.rigidity import Rigidity


def rigidity_table(training: Rigidity, held_out: Rigidity | None = None) -> dict[str, Array]:
    """Return a row per head: kind, layer, head, rigidity with its interval; with held-out texts the difference too.

    training  rigidity of the training texts, each explained by all others: `sink.result()`
    held_out  that of texts which are not trained on, explained by the training texts: `other.result(sink)`; the same
              heads

    Both are explained by the map by position of the training texts, so that neither the number of held-out texts nor
    their own map changes the difference: it says whether training texts keep closer to that map.

    rigidity, rigidity_low, rigidity_high   mean over texts, and its 95 % interval (`intervals`)
    rigidity_held_out, …                    the same of the held-out texts
    rigidity_difference, …_low, …_high      training minus held-out
    rigidity_p, rigidity_p_adjusted         `label_permutation`; adjusted for testing all heads

    Intervals and p-values need SciPy, and 6 texts of each set; else they are NaN.
    """
    kinds, layers, heads = (list(column) for column in zip(*training.heads, strict=True))
    table = {"kind": np.array(kinds, dtype=object), "layer": np.array(layers), "head": np.array(heads)}
    table |= _over_texts("rigidity", training)
    if held_out is None:
        return table
    a, b = training.values, held_out.values
    low, high = difference_intervals(a, b).T
    p = label_permutation(a, b)
    return {
        **table,
        **_over_texts("rigidity_held_out", held_out),
        "rigidity_difference": training.mean() - held_out.mean(),
        "rigidity_difference_low": low,
        "rigidity_difference_high": high,
        "rigidity_p": p,
        "rigidity_p_adjusted": adjusted(p),
    }


def _over_texts(name: str, rigidity: Rigidity) -> dict[str, Array]:
    low, high = intervals(rigidity.values).T
    return {name: rigidity.mean(), f"{name}_low": low, f"{name}_high": high}
