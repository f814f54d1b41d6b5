"""How far each head looks: its attention by distance, beside what even attention would put there."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from attncli.data import Kind, Profile
from attncli.errors import UsageError
from attncli.plotting.axis import KIND_WORDS, draw_key_ticks, fitted, side_of
from attncli.plotting.cells import COLOURS, DRAWN, GREY, INVISIBLE, Cells, paint
from attncli.plotting.head_rows import HeadRows
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, header_size
from attncli.plotting.text import SMALL, SUBTITLE, style
from attncli.plotting.theme import own_style

DIVERGING = "RdBu_r"
_WIDE = 34
_LEFT, _ABOVE, _BELOW, _LEAST = 76, 30, 80, 210
_REACH = 4
"""How many doublings the scale of the ratio shows."""


@own_style
def draw(profile: Profile, kind: Kind, *, model: str = "", note: str = "") -> Figure:
    """How far does each head look, and is that more than the text alone would make it?

    Rows are heads, layer by layer; columns are distances |i-j| that double. On the left the share of the attention
    that goes so far; on the right how many times that is what even attention would put there, in doublings: red
    heads look there, blue ones look away.
    """
    mass, even = (profile.distance[name].sel(kind=kind) for name in ("mass", "uniform_mass"))
    if not len(mass.values):
        raise UsageError(f"there is nothing to draw: no distance of kind '{kind}' was measured")
    rows = HeadRows.of(mass.coords["layer"][1], mass.coords["head"][1])
    bins = [_words(*ends) for ends in zip(*(mass.coords[name][1].tolist() for name in ("from", "to")), strict=True)]
    side = side_of(bins, _WIDE, positions=False, largest=SMALL)
    title = f"{KIND_WORDS[kind]} · how far heads look"
    lines = [line for line in (model, note) if line]
    least, top = header_size(title, lines)
    step = _LEFT + len(bins) * _WIDE + BAR_ROOM
    page = FigureLayout.blank(
        max(2 * EDGE + 2 * step, least), top + _ABOVE + max(rows.height + side.width, _LEAST) + _BELOW
    )
    page.header(title, lines)
    state = np.where(np.isfinite(mass.values), DRAWN, INVISIBLE).astype(np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.clip(np.log2(mass.values / even.values), -99, 99)
    panels = (
        ("share of the attention", mass.values, Normalize(0, np.nanmax(mass.values)), COLOURS, "fraction"),
        ("against even attention", ratio, Normalize(-_REACH, _REACH), DIVERGING, "log₂ (share / even share)"),
    )
    for number, (name, values, norm, colours, unit) in enumerate(panels):
        axes = page.axes(EDGE + number * step + _LEFT, top + _ABOVE, len(bins) * _WIDE, rows.height)
        cells = rows.cells(Cells(np.nan_to_num(values).astype(np.float32), state))
        image = paint(axes, cells, norm, colours)
        page.bar_beside(axes, image, unit, "both" if number else "neither")
        axes.set_title(name, **style(SUBTITLE, loc="left", pad=9))
        rows.put_labels(axes)
        draw_key_ticks(axes, side)
        axes.set_xlabel(fitted("distance to the key (tokens)", len(bins) * _WIDE), **style(SUBTITLE))
    if (state == INVISIBLE).any():
        page.legend([Patch(facecolor=GREY, label="no token sees so far")], EDGE, page.height - 30)
    return page.figure


def _words(near: int, far: int) -> str:
    return str(near) if near == far else f"{near}-{far}"
