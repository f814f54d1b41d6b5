"""The picture of `prune`: the output against the share of heads that are removed."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from attncli.data import Array
from attncli.data.kinds import KNOWN, KindNames
from attncli.plotting.layout import FigureLayout, Header, legend_style
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, style, with_fixed_style
from attncli.studies.importance.result import UNITS, label_of
from attncli.studies.prune.result import Pruning

_COLOURS = {"importance": "#31688e", "reverse": "#d1495b", "random": "#777777"}
_LABELS = {"importance": "least important first", "reverse": "most important first"}
_LEFT, _RIGHT, _WIDTH, _HEIGHT, _BELOW, _LEGEND = 84, 260, 460, 300, 66, 12


@with_fixed_style
def draw_curve(result: Pruning, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return a page with the main effect by the share removed: both orders, the band of random orders, and the stop.

    Intervals over texts are drawn around both orders if there are texts enough.
    """
    header = Header.of(
        f"pruning: {label_of(result.main)} by the share of heads removed", model, note, *result.advice.split("; ")
    )
    top = header.height + _LEGEND
    page = FigureLayout.blank(_LEFT + _WIDTH + _RIGHT, top + _HEIGHT + _BELOW, header)
    axes = page.axes(_LEFT, top, _WIDTH, _HEIGHT)
    shares, values = _curve(result, "random")
    label = f"{len(values)} random orders"
    axes.fill_between(
        shares, values.min(0), values.max(0), color=_COLOURS["random"], alpha=0.25, linewidth=0, label=label
    )
    axes.plot(shares, np.median(values, 0), color=_COLOURS["random"], linewidth=1, linestyle="--", label="their median")
    for order in ("importance", "reverse"):
        shares, values = _curve(result, order)
        axes.plot(shares, values[0], color=_COLOURS[order], marker="o", markersize=3, label=_LABELS[order])
        if f"{result.main}_low" in result.curve:
            low, high = (_curve(result, order, end)[1][0] for end in ("_low", "_high"))
            axes.fill_between(shares, low, high, color=_COLOURS[order], alpha=0.15, linewidth=0)
    if result.removed is not None:
        stop = result.removed / len(result.names)
        axes.axvline(stop, color=INK, linewidth=0.8, linestyle=":", label=f"stop: {result.removed} removed")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_frame_on(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(-0.01, 1.01)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
    axes.set_xlabel("share of heads removed", **style(SUBTITLE))
    axes.set_ylabel(f"{label_of(result.main)} ({UNITS[result.main]})", **style(SUBTITLE))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), **legend_style())
    return page.figure


def _curve(result: Pruning, order: str, end: str = "") -> tuple[Array, Array]:
    """Return the shares, and the main effects as [order, share], or an end of their intervals: _low or _high."""
    rows = result.curve["order"] == order
    shares = np.unique(result.curve["share"][rows])
    return shares, result.curve[f"{result.main}{end}"][rows].reshape(-1, len(shares))
