"""The picture of the curves: the probability when more and more units are removed, or added."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from attncli.plotting.axis import join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header, legend_style
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style, with_fixed_style
from attncli.studies.faithfulness.curves.result import PERCENTS, Curves
from attncli.studies.faithfulness.orders import POSITION, RANDOM

_COLOURS = ("#31688e", "#d1495b", "#35b779", "#e69f00", "#7b4fa0", "#8c564b", "#1b9e9e", "#a6761d", "#e377c2")
_LEFT, _BETWEEN, _RIGHT, _WIDTH, _HEIGHT, _ABOVE, _BELOW = 84, 56, 220, 330, 230, 34, 62
_TITLES = {"deletion": "without the first units", "insertion": "with only the first units"}


@with_fixed_style
def draw_curves(result: Curves, *, model: str = "", note: str = "") -> Figure:
    """Return a page with the mean curves: a row for each removal, deletion on the left and insertion on the right.

    Bands are 95 % intervals over texts, if there are texts enough.
    """
    shaded = "" if np.isnan(result.by_share["deletion_low"]).all() else "shaded: 95 % intervals over texts"
    title = f"faithfulness: the {result.response} when units are removed"
    header = Header.of(title, model, join_parts(note, shaded))
    row = _ABOVE + _HEIGHT + _BELOW
    width = _LEFT + 2 * _WIDTH + _BETWEEN + _RIGHT
    page = FigureLayout.blank(width + EDGE, header.height + row * len(result.removals), header)
    for number, removal in enumerate(result.removals):
        for column, name in enumerate(_TITLES):
            left, top = _LEFT + column * (_WIDTH + _BETWEEN), header.height + number * row + _ABOVE
            axes = page.axes(left, top, _WIDTH, _HEIGHT)
            _draw(axes, result, number, name)
            axes.set_title(f"{name}, {removal}: {_TITLES[name]}", **style(SUBTITLE, pad=5))
            if not column:
                axes.set_ylabel(result.response, **style(SUBTITLE))
        if not number:
            axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.12), **legend_style())
    return page.figure


def _draw(axes: Axes, result: Curves, removal: int, name: str) -> None:
    shares = np.array(PERCENTS) / 100
    table, count = result.by_share, len(PERCENTS)
    for number, method in enumerate(result.methods):
        first = (removal * len(result.methods) + number) * count
        rows = slice(first, first + count)
        look = _look(method, number)
        axes.fill_between(
            shares,
            table[f"{name}_low"][rows],
            table[f"{name}_high"][rows],
            color=look["color"],
            alpha=0.12,
            linewidth=0,
        )
        axes.plot(shares, table[name][rows], label=method, **look)
    axes.set_frame_on(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(-0.01, 1.01)
    # a model that predicts a number has other values than probabilities
    shown = np.concatenate([table["deletion"], table["insertion"], [0.0, 1.0]])
    room = 0.02 * float(np.ptp(shown))
    axes.set_ylim(float(shown.min()) - room, float(shown.max()) + room)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
    axes.set_xlabel("share of units removed" if name == "deletion" else "share of units kept", **style(SUBTITLE))


def _look(method: str, number: int) -> dict[str, Any]:
    """Return how the line of a method looks; baselines are grey and broken."""
    if method in (RANDOM, POSITION):
        return {"color": "#555555" if method == RANDOM else FAINT, "linestyle": "--" if method == RANDOM else ":"}
    return {"color": _COLOURS[number % len(_COLOURS)], "marker": "o", "markersize": 2.5}
