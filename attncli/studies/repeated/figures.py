"""The picture of a series of checkpoints: scores of the best heads and losses of both copies, by step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attncli.data import Array
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import escape_invisible
from attncli.plotting.layout import FigureLayout, Header, legend_style
from attncli.plotting.text import INK, SMALL, SUBTITLE, style, with_fixed_style
from attncli.studies.repeated.result import SCORES
from attncli.studies.repeated.series import Series

_COLOURS = {"previous": "#31688e", "duplicate": "#35b779", "induction": "#440154"}
_LOSSES: Mapping[str, Mapping[str, Any]] = {
    "first": {"color": "#777777", "linestyle": "--"},
    "second": {"color": "#440154", "linestyle": "-"},
}
_LEFT, _RIGHT, _PANEL_HEIGHT, _BELOW, _LEGEND = 84, 190, 230, 78, 12
_LEAST_WIDTH, _MOST_WIDTH, _STEP_WIDTH = 460, 1000, 44
_MOST_NAMES, _LONGEST_NAME = 12, 14


@with_fixed_style
def draw_series(series: Series, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return a page with the highest value of each score at every checkpoint, and below it the losses of both copies.

    Thin lines are single heads: for each score, those that are the best head of a checkpoint. Without losses there is
    one panel. The checkpoints are at their steps, or one after another if some have no step.
    """
    table, has_losses = series.steps_table(), any(result.losses for result in series.results)
    width = min(max(_LEAST_WIDTH, _STEP_WIDTH * len(series.checkpoints)), _MOST_WIDTH)
    header = Header.of("heads that find earlier copies, by checkpoint", model, note)
    top, panels = header.height + _LEGEND, 2 if has_losses else 1
    page = FigureLayout.blank(_LEFT + width + _RIGHT, top + panels * (_PANEL_HEIGHT + _BELOW), header)
    positions = _positions(table["step"])
    axes = page.axes(_LEFT, top, width, _PANEL_HEIGHT)
    for score in SCORES:
        for head in sorted(set(table[f"{score}_head"])):
            values = [dict(result.best(score, len(result.heads[score].values)))[head] for result in series.results]
            axes.plot(positions, values, color=_COLOURS[score], linewidth=0.6, alpha=0.45)
        axes.plot(positions, table[score], color=_COLOURS[score], marker="o", markersize=3, label=score)
    axes.set_ylim(-0.02, 1.02)
    _finish(axes, series, positions, "highest score of a head (1)")
    if has_losses:
        axes = page.axes(_LEFT, top + _PANEL_HEIGHT + _BELOW, width, _PANEL_HEIGHT)
        for copy, look in _LOSSES.items():
            axes.plot(positions, table[f"{copy}_loss"], marker="o", markersize=3, label=f"{copy} copy", **look)
        axes.set_ylim(bottom=0)
        _finish(axes, series, positions, "loss (nat per token)")
    return page.figure


def _positions(steps: Array) -> Array:
    """Return where checkpoints are on the axis: at their steps, or in order if a step is missing or comes twice."""
    distinct = len(set(steps.tolist())) == len(steps)
    return steps if np.isfinite(steps).all() and distinct else np.arange(len(steps))


def _finish(axes: Axes, series: Series, positions: Array, label: str) -> None:
    """Give a panel its axes, labels and legend."""
    axes.set_frame_on(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(label, **style(SUBTITLE))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    by_step = positions[-1] == series.checkpoints[-1].step
    if by_step:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    else:
        every = -(-len(positions) // _MOST_NAMES)
        names = [escape_invisible(checkpoint.name)[:_LONGEST_NAME] for checkpoint in series.checkpoints]
        axes.set_xticks(positions[::every], names[::every], **style(SMALL))
    axes.set_xlabel("step" if by_step else "checkpoint", **style(SUBTITLE))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), **legend_style())
