"""The picture of the segments of a text: bars of all measures side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from attncli.data import Array
from attncli.data.labels import escape_invisible, label
from attncli.plotting.axis import join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, fit_label, measure, style, with_fixed_style
from attncli.studies.faithfulness.documents.result import MEASURES, Documents, TextDocuments
from attncli.studies.faithfulness.documents.terminal import fit_text

_COLOURS = ("#31688e", "#d1702f", "#35b779")
_PLAIN = "#8a8f98"
_TITLES = ("attention", "knock-out", "left out alone", "linear weight", "Shapley value")
_BAR, _PANEL, _BETWEEN, _LABEL_ROOM, _MOST_BARS, _LONGEST_NAME = 17, 176, 30, 260, 24, 60
_FAINT = 0.005
"""Values below it are written as 0."""
_SHARED = 2
"""The first measures have one bar for all removals."""


@with_fixed_style
def draw_documents(result: Documents, number: int = 0, *, model: str = "") -> Figure:
    """Return the segments of a text as bars, a panel for each measure and a colour for each removal.

    All panels but attention share one scale. Of many segments those with the largest weights are drawn.
    """
    text, removals = result.texts[number], result.removals
    values = {name: np.stack([text.of(removal)[name] for removal in removals]) for name in MEASURES}
    panels = [place for place, name in enumerate(MEASURES) if np.isfinite(values[name]).any()]
    most = np.argsort(-np.abs(values["weight"]).max(0), kind="stable")[:_MOST_BARS]
    shown = np.sort(most)
    names = [fit_label(escape_invisible(text.segments[row]), SUBTITLE, _LABEL_ROOM) for row in shown.tolist()]
    left, tall = EDGE + measure(names, SUBTITLE)[0] + 12, _BAR * len(removals) + 6
    cut = "" if len(shown) == len(text.segments) else f"{len(shown)} of {len(text.segments)} segments"
    several = f"text {number}" if len(result.texts) > 1 else ""
    header = Header.of(_title(result, text), model, join_parts(several, cut), *_about(text, removals))
    top, height = header.height + 24, tall * len(shown)
    page = FigureLayout.blank(left + len(panels) * (_PANEL + _BETWEEN) + EDGE, top + height + 76, header)
    losses = np.concatenate([values[name].ravel() for name in MEASURES[1:]])
    reach = np.array([min(0, np.nanmin(losses)), max(0, np.nanmax(losses))])
    for column, place in enumerate(panels):
        axes = page.axes(left + column * (_PANEL + _BETWEEN), top, _PANEL, height)
        bars = values[MEASURES[place]][:, shown]
        limits = _limits(reach if place else np.array([0, 1]))
        shared = place < _SHARED
        _draw(axes, bars[:1] if shared else bars, (_PLAIN,) if shared else _COLOURS, limits)
        axes.set_title(fit_label(_TITLES[place], SUBTITLE, _PANEL), **style(SUBTITLE, pad=4))
        unit = f"loss of {result.response}" if place else "share"
        axes.set_xlabel(unit, **style(SMALL, FAINT))
        if not column:
            axes.set_yticks(np.arange(len(shown)), labels=names, **style(SUBTITLE))
            axes.tick_params(axis="y", length=0, pad=6)
    legend = [Patch(color=colour, label=removal) for colour, removal in zip(_COLOURS, removals, strict=False)]
    page.legend(legend, left, top + height + 44)
    return page.figure


def _draw(axes: Axes, bars: Array, colours: Sequence[str], limits: tuple[float, float]) -> None:
    """Draw the bars [removal, segment]: in each row one below the other."""
    count, rows = len(bars), np.arange(bars.shape[1])
    tall = 0.8 / count
    for number, values in enumerate(bars):
        places = rows - 0.4 + tall * (number + 0.5)
        axes.barh(places, np.nan_to_num(values), height=0.9 * tall, color=colours[number])
        for place, value in zip(places.tolist(), values.tolist(), strict=True):
            if np.isfinite(value):
                is_right = value > -_FAINT
                side = {"ha": "left" if is_right else "right", "va": "center_baseline"}
                offset = (3 if is_right else -3, 0)
                look = style(SMALL, **side)
                axes.annotate(f"{value:z.2f}", (value, place), offset, textcoords="offset points", **look)
    axes.set_ylim(bars.shape[1] - 0.5, -0.5)
    axes.set_xlim(*limits)
    axes.axvline(0, color=FAINT, linewidth=0.8)


def _limits(reach: Array) -> tuple[float, float]:
    """Return the ends of an axis with room for the numbers beside the bars."""
    low, high = reach.tolist()
    room = 0.32 * ((high - low) or 1.0)
    return low - room * (low < 0), high + room * (high > 0 or low == high)


def _title(result: Documents, text: TextDocuments) -> str:
    what = "the logit of" if result.response == "logit" else "the number"
    return f"what {what} {escape_invisible(label(text.prediction, width=_LONGEST_NAME))} loses without each segment"


def _about(text: TextDocuments, removals: Sequence[str]) -> list[str]:
    """Return lines about the fit of the linear models, and about the segments that stay."""
    fits = [f"{removal}: {fit_text(text.removals[removal])}" for removal in removals]
    stay = f"not left out: {', '.join(text.stay)}" if text.stay else ""
    return [join_parts(f"linear model, {fits[0]}", *fits[1:]), stay]
