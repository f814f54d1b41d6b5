"""Pictures of attention between segments: the mean of all heads and its ratio to uniform attention, or every head."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from attncli.data import Array, Attention, Kind, LayerMaps, Tokens
from attncli.data.labels import label
from attncli.errors import UsageError
from attncli.plotting import grid
from attncli.plotting.axis import KIND_WORDS, draw_ticks, fit_labels, join_parts
from attncli.plotting.cells import DRAWN, INVISIBLE, missing_legend, write_values
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header, ratio_panels
from attncli.plotting.text import SUBTITLE, style, with_fixed_style
from attncli.studies.segments.result import Segments

READING = "in each panel: rows are query segments, columns are key segments"
_REACH = 3
"""Value of log₂ ratio at the ends of the colour map."""
_ABOVE, _BELOW, _APART, _LOWEST = 34, 66, 40, 150
_VALUE_ROOM, _SIDE = 40, 560


@with_fixed_style
def draw(segments: Segments, kind: Kind, *, model: str = "", note: str = "") -> Figure:
    """Return the picture of attention between segments, compared with uniform attention.

    Rows are query segments, columns are key segments. Left: the share of the attention, as the mean over heads
    and layers. Right: log₂ of its ratio to the share that uniform attention over the visible keys has. Grey: all keys
    are masked. Raise UsageError if no segments of this kind were measured.
    """
    table = segments.mean_table()
    of_kind = table["kind"] == kind
    if not of_kind.any():
        raise UsageError(f"there is nothing to draw: no segments of kind '{kind}' were measured")
    sides, cells = _segments_of(table, of_kind)
    mass, ratio, visible = (np.full(tuple(map(len, sides)), fill) for fill in (0.0, 1.0, False))
    mass[cells], ratio[cells], visible[cells] = (
        values[of_kind] for values in (table["mass"], table["ratio"], table["uniform_mass"] > 0)
    )
    state = np.where(visible, DRAWN, INVISIBLE).astype(np.uint8)
    title = f"{KIND_WORDS[kind]} · attention between segments"
    header = Header.of(title, model, join_parts("mean over layers and heads", note))
    return _compose(header, sides, (mass, ratio, state))


def _segments_of(table: dict[str, Array], of_kind: Array) -> tuple[tuple[list[str], list[str]], tuple[Array, Array]]:
    """Return the segments of rows and columns, and the cell (rows, columns) of each entry of the table."""
    sides, cells = [], []
    for name in ("from", "to"):
        entries = table[name][of_kind].tolist()
        sides.append(list(dict.fromkeys(entries)))
        cells.append(np.array([sides[-1].index(entry) for entry in entries]))
    return (sides[0], sides[1]), (cells[0], cells[1])


def _compose(header: Header, sides: tuple[list[str], list[str]], values: tuple[Array, Array, Array]) -> Figure:
    """Return the picture; `values` are mass, ratio and state of each cell [row, column]."""
    mass, ratio, state = values
    rows, columns = state.shape
    tall, wide = max(8, min(44, _SIDE // rows)), max(8, min(76, _SIDE // columns))
    row_labels, column_labels = (
        fit_labels([label(name) for name in side], size, with_positions=False)
        for side, size in zip(sides, (tall, wide), strict=True)
    )
    step = row_labels.width + 20 + columns * wide + BAR_ROOM + _APART
    below = (row_labels.size if column_labels.horizontal else column_labels.width) + _BELOW
    bottom = header.height + _ABOVE + max(rows * tall + below, _LOWEST) + 30
    page = FigureLayout.blank(2 * EDGE + 2 * step, bottom, header)
    for number, panel in enumerate(ratio_panels(mass, ratio, state, _REACH)):
        left = EDGE + number * step + row_labels.width + 30
        axes = page.axes(left, header.height + _ABOVE, columns * wide, rows * tall)
        image = panel.draw(page, axes)
        draw_ticks(axes, row_labels, column_labels)
        axes.set_ylabel("from", **style(SUBTITLE))
        axes.set_xlabel("to", **style(SUBTITLE))
        if min(tall / 0.4, wide) >= _VALUE_ROOM:
            write_values(axes, panel.cells, image)
    page.legend(missing_legend(state), EDGE, page.height - 30)
    return page.figure


def draw_heads(segments: Segments, kind: Kind, most: int, *, model: str = "", note: str = "") -> Figure | None:
    """Return the attention between segments of every head on one page.

    None if there are more than `most` segments on a side, or a single head.
    """
    table = segments.table()
    of_kind = table["kind"] == kind
    sides, cells = _segments_of(table, of_kind)
    heads = list(zip(table["layer"][of_kind].tolist(), table["head"][of_kind].tolist(), strict=True))
    if max(map(len, sides)) > most or len(set(heads)) == 1:
        return None
    layers: dict[int | str, dict[int | str, tuple[Array, Array]]] = {}
    mass, visible = table["mass"][of_kind], table["uniform_mass"][of_kind] > 0
    shape = (len(sides[0]), len(sides[1]))
    for number, (layer, head) in enumerate(heads):
        head_maps = layers.setdefault(layer, {}).setdefault(head, (np.zeros(shape), np.zeros(shape, bool)))
        cell = cells[0][number], cells[1][number]
        head_maps[0][cell], head_maps[1][cell] = mass[number], visible[number]
    layer_maps = tuple(
        LayerMaps(
            layer,
            tuple(head for head in maps if isinstance(head, int)),
            *(np.stack([head_maps[part] for head_maps in maps.values()]) for part in (0, 1)),
        )
        for layer, maps in layers.items()
    )
    combined = "none" if layer_maps[0].heads else "mean"
    queries, keys = map(Tokens.plain, sides)
    attention = Attention(kind, queries, keys, layer_maps, aggregate=combined)
    return grid.draw(attention, model=model, note=join_parts("attention between segments", note), reading=READING)
