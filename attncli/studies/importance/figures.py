"""Pictures of `importance`: all heads by layer, and the heads with the largest effects in order."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attncli.data.kinds import KNOWN, KindNames
from attncli.plotting import overview
from attncli.plotting.axis import join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.studies.importance.result import SIGNED, Importance, label_of, label_with_unit

MEASURABLE, NOT_MEASURABLE = "#31688e", "#c9d3db"
_MOST_BARS = 40
_BAR, _WIDTH, _NUMBER = 18, 420, 70


def draw_map(result: Importance, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return a page with a map of layers x heads for each measure; red is a loss without the head, blue a gain."""
    neutral = {name: 0.0 for name in result.measures if name in SIGNED}
    note = join_parts(f"importance by {result.method}", note)
    statistics = result.statistics()
    shown: dict[str, Any] = {
        "metrics": list(statistics.heads),
        "labels": {name: label_of(name) for name in statistics.heads},
    }
    return overview.draw(statistics, model=model, note=note, kinds=kinds, neutral=neutral, **shown)


@with_fixed_style
def draw_ranked(result: Importance, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the largest effects as bars in order, with their intervals; those without measurable effect are pale."""
    count = min(_MOST_BARS, len(result.names))
    names, values = result.names[:count], result.columns[result.main][:count]
    low, high = (result.columns[f"{result.main}_{end}"][:count] for end in ("low", "high"))
    measurable = result.columns["measurable"][:count]
    left = EDGE + measure(names, SUBTITLE)[0] + 10
    cut = f"the largest {count} of {len(result.names)}" if count < len(result.names) else ""
    header = Header.of(
        f"importance by {result.method}: {label_of(result.main)}", model, join_parts(note, cut), result.advice
    )
    page = FigureLayout.blank(left + _WIDTH + _NUMBER + EDGE, header.height + _BAR * count + 54, header)
    axes = page.axes(left, header.height, _WIDTH, _BAR * count)
    rows = np.arange(count)
    colours = [NOT_MEASURABLE if value is False else MEASURABLE for value in measurable]
    axes.barh(rows, values, height=0.72, color=colours)
    known = ~np.isnan(low)
    if known.any():
        reach = np.stack([values - low, high - values])[:, known].clip(min=0)
        axes.errorbar(values[known], rows[known], xerr=reach, fmt="none", ecolor="#222222", elinewidth=0.8, capsize=2)
    ends = np.concatenate([values, low[known], high[known], [0.0]])
    room = 0.02 * (float(ends.max() - ends.min()) or 1.0)
    axes.set_xlim(float(ends.min()) - room * (ends.min() < 0), float(ends.max()) + room)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(rows, labels=names, **style(SUBTITLE))
    axes.tick_params(axis="y", length=0, pad=6)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(axis="x", labelsize=SMALL, length=3, width=0.6, color=FAINT)
    axes.set_xlabel(label_with_unit(result.main), **style(SUBTITLE, FAINT))
    axes.axvline(0, color=FAINT, linewidth=0.8)
    return page.figure
