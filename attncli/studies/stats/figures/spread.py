"""The spread of the heads within each layer: for each main metric a point per head and the median, by seaborn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn  # type: ignore[import-untyped]
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, MaxNLocator

from attncli.data import KINDS, Kind, Scores, Statistics
from attncli.errors import UsageError
from attncli.plotting.layout import PanelSize, panel_page
from attncli.plotting.overview import select_scores, unit_label
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, style, with_fixed_style

_HEIGHT = 170
_LEFT, _ABOVE, _BELOW, _RIGHT = 78, 42, 62, 24
_MEDIAN, _POINT = "#440154", "#31688e"
_MIDDLE_HALF = {"linewidth": 5, "alpha": 0.25}
_MOST_LABELS = 16


@with_fixed_style
def draw(statistics: Statistics, *, model: str = "", note: str = "", metrics: Sequence[str] | None = None) -> Figure:
    """Return a page with one panel per metric: do the heads of a layer agree, and how does that change with depth?

    Layers go from left to right; each head is a point, the line joins the medians of the layers, the bar behind it is
    the middle half of the heads. Undefined heads have no point. Raises UsageError where no metric has a value.

    metrics  names of the metrics; by default the main ones
    """
    shown = select_scores(statistics, metrics)
    blocks = {kind: tables for kind in KINDS if (tables := _tables(kind, shown))}
    if not blocks:
        raise UsageError("there is nothing to draw: no metric has a value for any head")
    layers = max(table["layer"].nunique() for tables in blocks.values() for table in tables.values())
    size = PanelSize(max(220, 26 * layers), _HEIGHT, _LEFT, _ABOVE, _BELOW, _RIGHT)
    counts = {kind: len(tables) for kind, tables in blocks.items()}
    page, corners = panel_page("heads by layer: each, median, middle half", [model, note], counts, size)
    for kind, tables in blocks.items():
        for (name, table), corner in zip(tables.items(), corners[kind], strict=True):
            _draw_panel(page.axes(*corner, size.width, size.height), name, table, shown[name])
    return page.figure


def _tables(kind: Kind, shown: Mapping[str, Scores]) -> dict[str, pd.DataFrame]:
    """Return for each metric with a value in this kind a table (layer, value) with a row per head."""
    tables = {}
    for name, scores in shown.items():
        scores_of_kind = scores.sel(kind=kind)
        known = np.isfinite(scores_of_kind.values)
        if known.any():
            columns = {"layer": scores_of_kind.coords["layer"][1][known], "value": scores_of_kind.values[known]}
            tables[name] = pd.DataFrame(columns)
    return tables


def _draw_panel(axes: Axes, name: str, table: pd.DataFrame, scores: Scores) -> None:
    layers = sorted(table["layer"].unique(), key=str if table["layer"].dtype == object else None)
    common = {"data": table, "x": "layer", "y": "value", "order": layers, "ax": axes}
    axes.xaxis.set_major_locator(AutoLocator())  # seaborn counts ticks, and the axes of a page have none
    look = {"color": _MEDIAN, "markersize": 4, "linewidth": 1.2, "err_kws": _MIDDLE_HALF}
    seaborn.pointplot(**common, estimator="median", errorbar=("pi", 50), **look)
    # no random jitter: the same run gives the same picture
    seaborn.stripplot(**common, color=_POINT, size=3, alpha=0.75, jitter=False)
    axes.set_title(name, **style(SUBTITLE, loc="left", pad=9))
    axes.set_xlabel("layer", **style(SUBTITLE))
    axes.set_ylabel(unit_label(scores), visible=True, **style(SUBTITLE))
    every = -(-len(layers) // _MOST_LABELS)
    axes.set_xticks(range(0, len(layers), every), labels=[str(layer) for layer in layers[::every]], **style(SMALL))
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=SMALL, length=3, width=0.6, color=FAINT)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
