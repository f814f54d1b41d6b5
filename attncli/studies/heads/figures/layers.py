"""Whether the tokens of each layer become alike: in what they look at, and in their hidden states."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attncli.data import Array, Kind
from attncli.plotting.axis import KIND_WORDS, joined
from attncli.plotting.layout import EDGE, FigureLayout, header_size
from attncli.plotting.text import INK, SMALL, SUBTITLE, fonts, style
from attncli.plotting.theme import own_style
from attncli.studies.heads.result import HeadsResult

_WIDE, _TALL, _APART, _LEFT = 330, 230, 46, 60
_KIND, _ABOVE, _BELOW = 26, 26, 118
_PANELS = {
    "rows_to_mean": ("rows of attention to their mean row", "JS (nat)", ("uniform", "positional", "shuffled")),
    "cosine": ("cosine between hidden states", "mean over pairs of tokens", ("input", "shuffled")),
    "rank_one_distance": ("hidden states to the best rank one", "‖X - 1x̄ᵀ‖ / ‖X‖", ("input", "shuffled")),
}
_OWN = ("layer", "#0072B2", "-")
# of Okabe & Ito 2008, told apart by their strokes too
_BESIDE = {
    "uniform": ("even attention", "#D55E00", (0, (5, 2))),
    "positional": ("position alone", "#CC79A7", (0, (3, 1.5, 1, 1.5))),
    "shuffled": ("shuffled tokens", "#009E73", (0, (1, 1.5))),
    "input": ("input of layer 0", "#D55E00", (0, (5, 2))),
}


@own_style
def draw(likeness: HeadsResult, *, model: str = "", note: str = "") -> Figure:
    """Do the tokens of a layer become alike from layer to layer?

    For each kind of attention a line per measure over the layers, each beside its baseline.
    """
    known = [name for name in _PANELS if np.isfinite(likeness.layers[name].values).any()]
    title = "how alike the tokens of each layer are"
    kinds = list(likeness.groups)
    lines = [line for line in (model, note) if line]
    least, top = header_size(joined(title, KIND_WORDS[kinds[0]]), lines)
    above = _ABOVE + (_KIND if len(kinds) > 1 else 0)
    step = above + _TALL + _BELOW
    page = FigureLayout.blank(max(least, EDGE + len(known) * (_LEFT + _WIDE + _APART)), top + len(kinds) * step)
    page.header(title if len(kinds) > 1 else joined(title, KIND_WORDS[kinds[0]]), lines)
    for row, kind in enumerate(kinds):
        if len(kinds) > 1:
            page.write(EDGE, top + row * step, KIND_WORDS[kind], SUBTITLE, weight="bold")
        for column, name in enumerate(known):
            left = EDGE + _LEFT + column * (_LEFT + _WIDE + _APART)
            if np.isfinite(_of(likeness, kind, name)).any():
                _put_panel(page.axes(left, top + row * step + above, _WIDE, _TALL), likeness, kind, name)
    return page.figure


def _of(likeness: HeadsResult, kind: Kind, name: str) -> Array:
    scores = likeness.layers[name]
    found: Array = scores.values[scores.coords["kind"][1] == kind]
    return found


def _put_panel(axes: Axes, likeness: HeadsResult, kind: Kind, name: str) -> None:
    title, unit, beside = _PANELS[name]
    scores = likeness.layers[name]
    layers = scores.coords["layer"][1][scores.coords["kind"][1] == kind].tolist()
    lines = {name: _OWN} | {f"{name}_{word}": _BESIDE[word] for word in beside if f"{name}_{word}" in likeness.layers}
    lowest = 0.0
    for order, (each, (words, colour, stroke)) in enumerate(lines.items()):
        values = _of(likeness, kind, each)
        if np.isfinite(values).any():
            lowest = min(lowest, float(np.nanmin(values)))
            look: dict[str, Any] = {"marker": "o", "markersize": 4} if each == name or len(layers) == 1 else {}
            look |= {"linewidth": 1.4, "linestyle": stroke, "clip_on": False, "zorder": 4 - 0.1 * order}
            axes.plot(layers, values, color=colour, label=words, **look)
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
    words_look = {"family": list(fonts()), "size": SMALL}
    axes.legend(prop=words_look, labelcolor=INK, frameon=False, borderpad=0, **place)
