"""How the heads of each layer spread: for each main metric a point per head and the median, by seaborn."""

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
from attncli.plotting.axis import KIND_WORDS
from attncli.plotting.layout import EDGE, FigureLayout, header_size
from attncli.plotting.overview import main_scores, unit_of
from attncli.plotting.text import SMALL, SUBTITLE, style
from attncli.plotting.theme import own_style

_ACROSS, _PLOT_HEIGHT = 4, 170
_LEFT, _ABOVE, _BELOW, _HEADING = 78, 42, 62, 36
_MEDIAN, _POINT = "#440154", "#31688e"
_HALF = {"linewidth": 5, "alpha": 0.25}
_LABELS = 16


@own_style
def draw(statistics: Statistics, *, model: str = "", note: str = "", metrics: Sequence[str] | None = None) -> Figure:
    """Do the heads of a layer agree, and how does that change with depth?

    One panel per metric, layers from left to right: each head is a point, the line joins the medians of the
    layers, the bar behind it holds the middle half of the heads. Undefined heads have no point. `metrics` are by
    default the main ones.
    """
    wanted = main_scores(statistics, metrics)
    blocks = {kind: _tables(kind, wanted) for kind in KINDS}
    blocks = {kind: tables for kind, tables in blocks.items() if tables}
    if not blocks:
        raise UsageError("there is nothing to draw: no metric has a value for any head")
    return _compose(blocks, wanted, [line for line in (model, note) if line])


def _tables(kind: Kind, wanted: Mapping[str, Scores]) -> dict[str, pd.DataFrame]:
    """For each metric with a value in this kind, one row per head: layer, value."""
    tables = {}
    for name, scores in wanted.items():
        here = scores.sel(kind=kind)
        known = np.isfinite(here.values)
        if known.any():
            tables[name] = pd.DataFrame({"layer": here.coords["layer"][1][known], "value": here.values[known]})
    return tables


def _compose(
    blocks: Mapping[Kind, Mapping[str, pd.DataFrame]], wanted: Mapping[str, Scores], lines: list[str]
) -> Figure:
    layers = max(table["layer"].nunique() for tables in blocks.values() for table in tables.values())
    across = min(_ACROSS, max(map(len, blocks.values())))
    step = (_ABOVE + _PLOT_HEIGHT + _BELOW, _LEFT + max(220, 26 * layers) + 24)
    title = "heads by layer: each, median, middle half"
    if len(blocks) == 1:
        title = f"{KIND_WORDS[next(iter(blocks))]} · {title}"
    heading = _HEADING if len(blocks) > 1 else 0
    rows = sum(-(-len(tables) // across) for tables in blocks.values())
    least, top = header_size(title, lines)
    page = FigureLayout.blank(max(2 * EDGE + across * step[1], least), top + len(blocks) * heading + rows * step[0])
    page.header(title, lines)
    for kind, tables in blocks.items():
        if heading:
            page.write(EDGE, top, KIND_WORDS[kind], 9.5, weight="bold")
        top += heading
        for n, (name, table) in enumerate(tables.items()):
            left = EDGE + n % across * step[1] + _LEFT
            axes = page.axes(left, top + n // across * step[0] + _ABOVE, step[1] - _LEFT - 24, _PLOT_HEIGHT)
            _put(axes, name, table, wanted[name])
        top += -(-len(tables) // across) * step[0]
    return page.figure


def _put(axes: Axes, name: str, table: pd.DataFrame, scores: Scores) -> None:
    layers = sorted(table["layer"].unique(), key=str if table["layer"].dtype == object else None)
    common = {"data": table, "x": "layer", "y": "value", "order": layers, "ax": axes}
    axes.xaxis.set_major_locator(AutoLocator())  # seaborn counts ticks, and a page's axes have none
    seaborn.pointplot(
        **common, estimator="median", errorbar=("pi", 50), color=_MEDIAN, markersize=4, linewidth=1.2, err_kws=_HALF
    )
    # no random jitter: the same run gives the same picture
    seaborn.stripplot(**common, color=_POINT, size=3, alpha=0.75, jitter=False)
    axes.set_title(name, **style(SUBTITLE, loc="left", pad=9))
    axes.set_xlabel("layer", **style(SUBTITLE))
    axes.set_ylabel(unit_of(scores), visible=True, **style(SUBTITLE))
    every = -(-len(layers) // _LABELS)
    axes.set_xticks(range(0, len(layers), every), labels=[str(layer) for layer in layers[::every]], **style(SMALL))
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=SMALL, length=3, width=0.6, color="#666666")
    axes.grid(axis="y", color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
