"""How much attention goes from segment to segment: the mean of all heads beside even attention, or every head."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.data import Array, Attention, Kind, LayerMaps, Tokens
from attncli.data.labels import label
from attncli.errors import UsageError
from attncli.plotting import grid
from attncli.plotting.axis import KIND_WORDS, AxisTokens, draw_ticks, joined, side_of
from attncli.plotting.cells import COLOURS, DRAWN, INVISIBLE, Cells, legend, paint, write_values
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, header_size
from attncli.plotting.text import SUBTITLE, style
from attncli.plotting.theme import own_style
from attncli.studies.segments.result import Segments

DIVERGING = "RdBu_r"
READING = "in each panel: rows are segments that look, columns are segments looked at"
_REACH = 3
"""How many doublings the scale of the ratio shows."""
_ABOVE, _BELOW, _APART, _LEAST = 34, 66, 40, 150
_ROOM, _SIDE = 40, 560


@own_style
def draw(segments: Segments, kind: Kind, *, model: str = "", note: str = "") -> Figure:
    """Which segment looks at which, and is that more than its length would make it?

    Rows are segments that look, columns those looked at. On the left the share of the attention, the mean over heads
    and layers; on the right how many times that is what attention spread evenly over the visible keys would put
    there, in doublings. Grey: no token of the row may see the column.
    """
    table = segments.mean_table()
    there = table["kind"] == kind
    if not there.any():
        raise UsageError(f"there is nothing to draw: no segments of kind '{kind}' were measured")
    names, at = _names(table, there)
    mass, ratio, state = (np.full(tuple(map(len, names)), fill) for fill in (0.0, 0.0, INVISIBLE))
    mass[at] = table["mass"][there]
    with np.errstate(divide="ignore"):
        ratio[at] = np.clip(np.nan_to_num(np.log2(table["ratio"][there])), -99, 99)
    state[at] = np.where(table["uniform_mass"][there] > 0, DRAWN, INVISIBLE)
    title = f"{KIND_WORDS[kind]} · attention between segments"
    details = joined("mean over layers and heads", note)
    lines = [line for line in (model, details) if line]
    return _compose(title, lines, names, (mass, ratio, state.astype(np.uint8)))


def _names(table: dict[str, Array], there: Array) -> tuple[tuple[list[str], list[str]], tuple[Array, Array]]:
    """The segments of rows and of columns, and where each row of the table is."""
    sides, places = [], []
    for name in ("from", "to"):
        found = list(dict.fromkeys(table[name][there].tolist()))
        sides.append(found)
        numbers = {each: at for at, each in enumerate(found)}
        places.append(np.array([numbers[each] for each in table[name][there].tolist()]))
    return (sides[0], sides[1]), (places[0], places[1])


def _compose(title: str, lines: list[str], names: tuple[list[str], list[str]], parts: tuple[Array, ...]) -> Figure:
    mass, ratio, state = parts
    rows, columns = state.shape
    tall, wide = max(8, min(44, _SIDE // rows)), max(8, min(76, _SIDE // columns))
    shown = [[label(name) for name in side] for side in names]
    down: AxisTokens = side_of(shown[0], tall, positions=False)
    across: AxisTokens = side_of(shown[1], wide, positions=False)
    least, top = header_size(title, lines)
    step = down.width + 20 + columns * wide + BAR_ROOM + _APART
    below = (down.size if across.flat else across.width) + _BELOW
    page = FigureLayout.blank(max(2 * EDGE + 2 * step, least), top + _ABOVE + max(rows * tall + below, _LEAST) + 30)
    page.header(title, lines)
    panels = (
        ("share of the attention", mass, Normalize(0, float(mass.max()) or 1.0), COLOURS, "fraction", "neither"),
        ("against even attention", ratio, Normalize(-_REACH, _REACH), DIVERGING, "log₂ (share / even share)", "both"),
    )
    for number, (name, values, norm, colours, unit, extend) in enumerate(panels):
        left = EDGE + number * step + down.width + 30
        axes = page.axes(left, top + _ABOVE, columns * wide, rows * tall)
        cells = Cells(values.astype(np.float32), state)
        image = paint(axes, cells, norm, colours)
        axes.set_title(name, **style(SUBTITLE, loc="left", pad=9))
        draw_ticks(axes, down, across)
        axes.set_ylabel("from", **style(SUBTITLE))
        axes.set_xlabel("to", **style(SUBTITLE))
        if min(tall / 0.4, wide) >= _ROOM:
            write_values(axes, cells, image)
        page.bar_beside(axes, image, unit, extend)
    page.legend(legend(state), EDGE, page.height - 30)
    return page.figure


def draw_heads(segments: Segments, kind: Kind, most: int, *, model: str = "", note: str = "") -> Figure | None:
    """The same for every head on one page; None where there are more than `most` segments, or a single head."""
    table = segments.table()
    there = table["kind"] == kind
    (rows, columns), at = _names(table, there)
    places = list(zip(table["layer"][there].tolist(), table["head"][there].tolist(), strict=True))
    if max(len(rows), len(columns)) > most or len(set(places)) == 1:
        return None
    layers: dict[int | str, dict[int | str, tuple[Array, Array]]] = {}
    uniform = table["uniform_mass"][there]
    for number, (layer, head) in enumerate(places):
        shape = (len(rows), len(columns))
        weights, seen = layers.setdefault(layer, {}).setdefault(head, (np.zeros(shape), np.zeros(shape, bool)))
        cell = at[0][number], at[1][number]
        weights[cell], seen[cell] = table["mass"][there][number], uniform[number] > 0
    shown = tuple(
        LayerMaps(
            layer,
            tuple(head for head in heads if isinstance(head, int)),
            np.stack([weights for weights, _ in heads.values()]),
            np.stack([seen for _, seen in heads.values()]),
        )
        for layer, heads in layers.items()
    )
    combined = "none" if shown[0].heads else "mean"
    maps = Attention(kind, Tokens.plain(rows), Tokens.plain(columns), shown, aggregate=combined)
    return grid.draw(maps, model=model, note=joined("attention between segments", note), reading=READING)
