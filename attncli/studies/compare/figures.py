"""What is different between two models, texts or runs: heads by their distance, and by the change of each measure."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from attncli.data import Scores, Statistics
from attncli.plotting import overview
from attncli.studies.compare.result import Comparison


def draw(comparison: Comparison, *, names: tuple[str, str] = ("A", "B")) -> Figure | None:
    """Which heads changed, and in what?

    First the distance of each head from the same head of the other, where there is one, then the change of each main
    measure from A to B: red is more in B, blue is less, white is no change. None where nothing is defined.
    """
    distance = comparison.heads["js_distance"]
    panels = {"js_distance": distance} if np.isfinite(distance.values).any() else {}
    metrics = comparison.measures["change"].coords["metric"][1].tolist()
    wanted = [name for name in overview.MAIN if name in metrics] or list(dict.fromkeys(metrics))
    changes = {f"change of {name}": _change(comparison, name) for name in wanted}
    statistics = Statistics({**panels, **changes})
    if not any(np.isfinite(scores.values).any() for scores in statistics.heads.values()):
        return None
    texts = int(distance.coords["texts"][1].max())
    note = "change from A to B" + (f" · mean over {texts} texts" if texts > 1 else "")
    return overview.draw(
        statistics,
        model=f"A: {names[0]}   B: {names[1]}",
        note=note,
        metrics=list(statistics.heads),
        neutral=dict.fromkeys(changes, 0.0),
    )


def _change(comparison: Comparison, metric: str) -> Scores:
    """The change of one measure, of all heads."""
    scores = comparison.measures["change"].sel(metric=metric)
    coords = {name: ("head", scores.coords[name][1]) for name in ("kind", "layer", "head")}
    unit = comparison.units.get(metric, "1")
    return Scores(
        f"change of {metric}",
        scores.values,
        ("head",),
        coords,
        "change" if unit == "1" else f"change ({unit})",
        (None, None),
        "",
    )
