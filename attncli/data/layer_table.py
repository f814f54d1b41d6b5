"""The table of layers: each metric over the heads of a layer."""

from collections.abc import Mapping

import numpy as np

from attncli.data.modes import Modes
from attncli.data.tokens import Array
from attncli.vocabulary import POSITION_METRICS


def layer_table(coords: Mapping[str, Array], metrics: Mapping[str, Array]) -> dict[str, Array]:
    """Return the columns of a table with a row per layer, from columns with a row per head.

    A metric is the mean over the heads where it is defined, `<metric>_std` the population standard deviation. A
    position is the most frequent one, and `<metric>_share` the share of the heads that have it.

    coords   kind, layer, texts and queries of each head
    metrics  the values of each head by metric, NaN where undefined

    >>> coords = {name: np.zeros(2, int) for name in ("kind", "layer", "texts", "queries")}
    >>> table = layer_table(coords, {"entropy": np.array([1.0, 3.0])})
    >>> [table[name].tolist() for name in ("heads", "entropy", "entropy_std")]
    [[2], [2.0], [1.0]]
    """
    layers = list(zip(coords["kind"].tolist(), coords["layer"].tolist(), strict=True))
    numbers = {layer: number for number, layer in enumerate(dict.fromkeys(layers))}
    row = np.array([numbers[layer] for layer in layers], dtype=np.int64)
    first = np.array([layers.index(layer) for layer in numbers], dtype=np.int64)
    table = {name: coords[name][first] for name in ("kind", "layer")}
    table["heads"] = np.bincount(row, minlength=len(numbers))
    table |= {name: coords[name][first] for name in ("texts", "queries")}
    for name, values in metrics.items():
        of_layers = [values[(row == number) & np.isfinite(values)] for number in range(len(numbers))]
        second = "share" if name in POSITION_METRICS else "std"
        summaries = [_mode(defined) if second == "share" else _moments(defined) for defined in of_layers]
        table[name], table[f"{name}_{second}"] = np.array(summaries, np.float64).reshape(-1, 2).T
    return table


def _moments(values: Array) -> tuple[float, float]:
    """Return mean and population standard deviation; NaN without a value."""
    return (float(values.mean()), float(values.std())) if len(values) else (np.nan, np.nan)


def _mode(values: Array) -> tuple[float, float]:
    """Return the most frequent value and its share; NaN without a value."""
    modes = Modes(())
    modes.add(values)
    return float(modes.mode), float(modes.share)
