"""Whether the tokens of each layer become alike: in what they look at, and in their hidden states."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attncli.data import Array, Kind, Likeness
from attncli.views._axis import KIND_WORDS, joined
from attncli.views._look import own_look
from attncli.views._page import EDGE, Page, header_size
from attncli.views._text import INK, SMALL, SUBTITLE, style

_WIDE, _TALL, _APART, _LEFT, _BELOW = 330, 230, 46, 60, 70
_PANELS = {
    "rows_to_mean": ("rows of attention to their mean row", "JS (nat)", "rows_to_mean_uniform", "even attention"),
    "cosine": ("cosine between hidden states", "mean over pairs of tokens", "cosine_input", "input of layer 0"),
    "rank_one_distance": (
        "hidden states to the best rank one",
        "‖X - 1x̄ᵀ‖ / ‖X‖",
        "rank_one_distance_input",
        "input of layer 0",
    ),
}


@own_look
def draw(likeness: Likeness, *, model: str = "", note: str = "") -> Figure:
    """Do the tokens of a layer become alike from layer to layer?

    For each kind of attention a line per measure over the layers, each beside its baseline.
    """
    known = [name for name in _PANELS if np.isfinite(likeness.layers[name].values).any()]
    title = "how alike the tokens of each layer are"
    kinds = list(likeness.groups)
    lines = [line for line in (model, note) if line]
    least, top = header_size(joined(title, KIND_WORDS[kinds[0]]), lines)
    step = _TALL + _BELOW + 40
    page = Page.blank(max(least, EDGE + len(known) * (_LEFT + _WIDE + _APART)), top + len(kinds) * step)
    page.header(title if len(kinds) > 1 else joined(title, KIND_WORDS[kinds[0]]), lines)
    for row, kind in enumerate(kinds):
        if len(kinds) > 1:
            page.write(EDGE, top + row * step, KIND_WORDS[kind], 9.5, weight="bold")
        for column, name in enumerate(known):
            left = EDGE + _LEFT + column * (_LEFT + _WIDE + _APART)
            if np.isfinite(_of(likeness, kind, name)).any():
                _put_panel(page.axes(left, top + row * step + 40, _WIDE, _TALL), likeness, kind, name)
    return page.figure


def _of(likeness: Likeness, kind: Kind, name: str) -> Array:
    scores = likeness.layers[name]
    found: Array = scores.values[scores.coords["kind"][1] == kind]
    return found


def _put_panel(axes: Axes, likeness: Likeness, kind: Kind, name: str) -> None:
    title, unit, beside, words = _PANELS[name]
    scores = likeness.layers[name]
    layers = scores.coords["layer"][1][scores.coords["kind"][1] == kind].tolist()
    axes.set_frame_on(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.plot(layers, _of(likeness, kind, name), "o-", color="#0072B2", markersize=4, linewidth=1.4, clip_on=False)
    baseline = _of(likeness, kind, beside)
    axes.plot(layers, baseline, "--", color="#D55E00", linewidth=1.2, clip_on=False, zorder=3)
    if len(layers) == 1:
        axes.axhline(baseline[0], ls="--", color="#D55E00", linewidth=1.2)
    low, high = scores.range
    values = np.concatenate([_of(likeness, kind, name), baseline])
    axes.set_ylim(min(0.0, float(np.nanmin(values)) * 1.05), high if low is not None else None)
    axes.set_xlim(layers[0] - 0.3, layers[-1] + 0.3)
    ticks = layers[:: -(-len(layers) // 12)]
    axes.set_xticks(ticks, labels=list(map(str, ticks)), **style(SMALL))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=3)
    axes.set_yticks([0, 0.2, 0.4, 0.6] + ([0.8, 1] if high == 1 else []))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_title(title, **style(SUBTITLE, loc="left", pad=16))
    axes.text(0, 1.02, f"dashed: {words}", transform=axes.transAxes, **style(SMALL, "#B34700", va="bottom"))
    axes.set_xlabel("layer", **style(SUBTITLE))
    axes.set_ylabel(unit, **style(SUBTITLE))
