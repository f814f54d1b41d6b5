"""The differences between two models, texts or runs: the distance of each head, and the change of each measure."""

import numpy as np
from matplotlib.figure import Figure

from attncli.data import Scores, Statistics
from attncli.data.kinds import KNOWN, KindNames
from attncli.plotting import overview
from attncli.studies.compare.result import Comparison


def draw(comparison: Comparison, *, names: tuple[str, str] = ("A", "B"), kinds: KindNames = KNOWN) -> Figure | None:
    """Return the page of differences: which heads changed, and in what? None where no number is defined.

    First the distances of each head of A from the same head of B, where there are any, then the change of each main
    measure from A to B: red is more in B, blue is less, white is no change.
    """
    distance = comparison.heads["js_distance"]
    distances = {name: comparison.heads.get(name) for name in ("norm_distance", "js_distance")}
    panels = {name: scores for name, scores in distances.items() if scores and np.isfinite(scores.values).any()}
    metrics = comparison.measures["change"].coords["metric"][1].tolist()
    shown = [name for name in overview.MAIN if name in metrics] or list(dict.fromkeys(metrics))
    changes = {f"change of {name}": _change(comparison, name) for name in shown}
    statistics = Statistics({**panels, **changes})
    if not any(np.isfinite(scores.values).any() for scores in statistics.heads.values()):
        return None
    texts = int(distance.coords["texts"][1].max())
    return overview.draw(
        statistics,
        model=f"A: {names[0]}   B: {names[1]}",
        note="change from A to B" + (f" · mean over {texts} texts" if texts > 1 else ""),
        kinds=kinds,
        metrics=list(statistics.heads),
        neutral=dict.fromkeys(changes, 0.0),
    )


def _change(comparison: Comparison, metric: str) -> Scores:
    """Return the change of one measure for every head."""
    scores = comparison.measures["change"].sel(metric=metric)
    coords = {name: ("head", scores.coords[name][1]) for name in ("kind", "layer", "head")}
    unit = comparison.units.get(metric, "1")
    unit = "change" if unit == "1" else f"change ({unit})"
    return Scores(f"change of {metric}", scores.values, ("head",), coords, unit, (None, None), "")
