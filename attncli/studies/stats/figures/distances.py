"""The attention of each head by distance, next to what uniform attention would give."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from attncli.data import Kind, Profile
from attncli.errors import UsageError
from attncli.plotting.axis import KIND_WORDS, draw_key_ticks, fit_axis_title, fit_labels
from attncli.plotting.cells import DRAWN, GREY, INVISIBLE
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header, HeadRows, ratio_panels
from attncli.plotting.text import SMALL, SUBTITLE, style, with_fixed_style

_COLUMN = 34
_LEFT, _ABOVE, _BELOW, _LOWEST = 76, 30, 80, 210
_REACH = 4
"""Doublings at which the colours of the ratio end."""


@with_fixed_style
def draw(profile: Profile, kind: Kind, *, model: str = "", note: str = "") -> Figure:
    """Return the picture of attention by distance: how far does each head attend, and is that more than chance?

    Rows are heads, layer by layer; columns are distances |i-j|, each column twice as wide as the one before. Left: the
    share of the attention at each distance. Right: how many times the share of uniform attention that is, in
    doublings. Raises UsageError where no distance of this kind was measured.
    """
    mass, uniform = (profile.distance[name].sel(kind=kind) for name in ("mass", "uniform_mass"))
    if not len(mass.values):
        raise UsageError(f"there is nothing to draw: no distance of kind '{kind}' was measured")
    rows = HeadRows.of(mass.coords["layer"][1], mass.coords["head"][1])
    ends = zip(*(mass.coords[name][1].tolist() for name in ("from", "to")), strict=True)
    labels = fit_labels([_bin_name(*pair) for pair in ends], _COLUMN, with_positions=False, largest=SMALL)
    header = Header.of(f"{KIND_WORDS[kind]} · attention by distance", model, note)
    width = mass.values.shape[1] * _COLUMN
    step = _LEFT + width + BAR_ROOM
    bottom = header.height + _ABOVE + max(rows.height + labels.width, _LOWEST) + _BELOW
    page = FigureLayout.blank(2 * EDGE + 2 * step, bottom, header)
    state = np.where(np.isfinite(mass.values), DRAWN, INVISIBLE).astype(np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = mass.values / uniform.values
    for number, panel in enumerate(ratio_panels(mass.values, ratio, state, _REACH, rows.cells)):
        axes = page.axes(EDGE + number * step + _LEFT, header.height + _ABOVE, width, rows.height)
        panel.draw(page, axes)
        rows.write_labels(axes)
        draw_key_ticks(axes, labels)
        axes.set_xlabel(fit_axis_title("distance to the key (tokens)", width), **style(SUBTITLE))
    if (state == INVISIBLE).any():
        page.legend([Patch(facecolor=GREY, label="no visible key at this distance")], EDGE, page.height - 30)
    return page.figure


def _bin_name(near: int, far: int) -> str:
    return str(near) if near == far else f"{near}-{far}"
