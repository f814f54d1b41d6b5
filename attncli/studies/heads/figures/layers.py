"""The similarity of the tokens of each layer: in their attention rows, and in their hidden states."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attncli.data import Array, Kind
from attncli.plotting.axis import KIND_WORDS, join_parts
from attncli.plotting.layout import EDGE, FigureLayout, Header, legend_style
from attncli.plotting.text import INK, SMALL, SUBTITLE, style, with_fixed_style
from attncli.studies.heads.result import HeadsResult

_WIDTH, _HEIGHT, _APART, _LEFT = 330, 230, 46, 60
_KIND, _ABOVE, _BELOW = 26, 26, 118
# by measure: title, unit, baselines
_PANELS = {
    "rows_to_mean": ("attention rows to their mean row", "JS (nat)", ("uniform", "positional", "shuffled")),
    "cosine": ("cosine between hidden states", "mean over pairs of tokens", ("input", "shuffled")),
    "rank_one_distance": ("hidden states to the nearest rank one", "‖X - 1x̄ᵀ‖ / ‖X‖", ("input", "shuffled")),
}
# label, colour of Okabe & Ito 2008, and dashes, so that lines differ without colours too
_LAYER = ("layer", "#0072B2", "-")
_BASELINES = {
    "uniform": ("uniform attention", "#D55E00", (0, (5, 2))),
    "positional": ("position alone", "#CC79A7", (0, (3, 1.5, 1, 1.5))),
    "shuffled": ("tokens shuffled", "#009E73", (0, (1, 1.5))),
    "input": ("input of layer 0", "#D55E00", (0, (5, 2))),
}


@with_fixed_style
def draw(result: HeadsResult, *, model: str = "", note: str = "") -> Figure:
    """Return the panels of measures over layers: do the tokens become more similar from layer to layer?

    A row of panels for each kind of attention; in each panel a line over the layers, and a line for each baseline.
    """
    measures = [name for name in _PANELS if np.isfinite(result.layers[name].values).any()]
    kinds = list(result.groups)
    several = len(kinds) > 1
    kind_words = "" if several else KIND_WORDS[kinds[0]]
    header = Header.of(join_parts("similarity of the tokens of each layer", kind_words), model, note)
    above = _ABOVE + (_KIND if several else 0)
    step, across = above + _HEIGHT + _BELOW, _LEFT + _WIDTH + _APART
    page = FigureLayout.blank(EDGE + len(measures) * across, header.height + len(kinds) * step, header)
    for row, kind in enumerate(kinds):
        top = header.height + row * step
        if several:
            page.write(EDGE, top, KIND_WORDS[kind], SUBTITLE, weight="bold")
        for column, name in enumerate(measures):
            if np.isfinite(_values(result, kind, name)).any():
                axes = page.axes(EDGE + _LEFT + column * across, top + above, _WIDTH, _HEIGHT)
                _draw_panel(axes, result, kind, name)
    return page.figure


def _values(result: HeadsResult, kind: Kind, name: str) -> Array:
    scores = result.layers[name]
    values: Array = scores.values[scores.coords["kind"][1] == kind]
    return values


def _draw_panel(axes: Axes, result: HeadsResult, kind: Kind, name: str) -> None:
    title, unit, baselines = _PANELS[name]
    scores = result.layers[name]
    layers = scores.coords["layer"][1][scores.coords["kind"][1] == kind].tolist()
    lines = {name: _LAYER} | {
        f"{name}_{word}": _BASELINES[word] for word in baselines if f"{name}_{word}" in result.layers
    }
    lowest = 0.0
    for order, (measure, (label, colour, dashes)) in enumerate(lines.items()):
        values = _values(result, kind, measure)
        if np.isfinite(values).any():
            lowest = min(lowest, float(np.nanmin(values)))
            look: dict[str, Any] = {"marker": "o", "markersize": 4} if measure == name or len(layers) == 1 else {}
            look |= {"linewidth": 1.4, "linestyle": dashes, "clip_on": False, "zorder": 4 - 0.1 * order}
            axes.plot(layers, values, color=colour, label=label, **look)
    axes.set_frame_on(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    high = scores.range[1] or 1.0
    axes.set_ylim(lowest * 1.05, high)
    axes.set_xlim(layers[0] - 0.3, layers[-1] + 0.3)
    ticks = layers[:: -(-len(layers) // 12)]
    axes.set_xticks(ticks, labels=list(map(str, ticks)), **style(SMALL))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
    axes.set_yticks([0, 0.2, 0.4, 0.6] + ([0.8, 1] if high == 1 else []))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_title(title, **style(SUBTITLE, loc="left", pad=8))
    axes.set_xlabel("layer", **style(SUBTITLE))
    axes.set_ylabel(unit, **style(SUBTITLE))
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.26), "ncols": 2, "borderaxespad": 0}
    axes.legend(borderpad=0, **place, **legend_style())
