"""One map as a picture, of a head or of combined heads: a cell per query and key, token labels on both axes."""

import math
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attncli.data import Attention, LayerMaps
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.zoom import combined_name
from attncli.errors import UsageError
from attncli.plotting import page_scale
from attncli.plotting.axis import AxisLabels, join_parts, label_axes, labels_of_axis, side_labels
from attncli.plotting.captions import describe_processing, faint_note, layer_name, pooling_note, weight_label
from attncli.plotting.cells import DRAWN, Cells, colour_norm, draw_cells, layer_cells, missing_legend, write_values
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.marks import NAME_ROOM, draw_part_lines, text_parts, write_part_names
from attncli.plotting.text import measure, with_fixed_style

_MOST_CELLS = 2048
_WRITE_VALUES_UP_TO, _VALUE_ROOM = 8, 36
_TITLE_ROOM, _TICK_ROOM = 26, 10
_FREE_UP_TO, _ABOVE_AND_BELOW = 1200, 200
"""Pixels of a page on which long labels use the free space, and what stands above and below its map."""


class HeatmapText(NamedTuple):
    """The words of the picture: its title, the label of the colour bar, and the titles of rows and columns."""

    title: str
    bar: str
    axes: tuple[str, str]


@with_fixed_style
def draw(
    attention: Attention,
    *,
    model: str = "",
    note: str = "",
    kinds: KindNames = KNOWN,
    log: bool = False,
    vmax: float | None = None,
    words: HeatmapText | None = None,
) -> Figure:
    """Return the picture of one map: which keys does each query attend to?

    Rows are queries, columns are keys, colours are weights; masked keys are grey, undefined weights hatched. Lines in
    a long text show where its segments or paragraphs begin. A map of more than 2048 cells per side is pooled, and the
    picture says so. Raises UsageError unless there is exactly one map with tokens.

    log    scale the colours logarithmically, over four decades
    vmax   top of the colour scale; by default the largest weight of the map
    words  what the picture says where it does not show the attention of a head
    """
    maps = _only_map(attention)
    full = layer_cells(maps)
    norm, extend = colour_norm(full.drawn, vmax, log)
    names = side_labels(attention, maps)
    down, across = (math.ceil(len(side) / _MOST_CELLS) for side in names)
    cells = Cells(full.weights[0], full.state[0]).pooled(down, across, attention.pool == "mean")
    size = _cell_sizes(*cells.state.shape)
    parts = text_parts(attention, size, (down, across))
    name_room = NAME_ROOM if any(parts) else 0
    height, width = (count * side for count, side in zip(cells.state.shape, size, strict=True))
    room = _FREE_UP_TO - name_room - np.array([width + BAR_ROOM + EDGE + _TITLE_ROOM, height + _ABOVE_AND_BELOW])
    queries = labels_of_axis(attention, 0, names[0], size[0], down, room=room[0])
    keys = labels_of_axis(attention, 1, names[1], size[1], across, room=room[1])

    pooled = pooling_note(attention, down, across) if max(down, across) > 1 else ""
    faint = faint_note(full.drawn, norm, attention.by)
    head = f"head {maps.heads[0]}" if maps.heads else f"{combined_name(attention.aggregate)} of heads"
    title = join_parts(kinds.title(attention.kind), layer_name(maps), head)
    axis_titles = kinds.axes(attention.kind, attention.rows_as)
    words = words or HeatmapText(title, weight_label(attention, log, (down, across)), axis_titles)
    header = Header.of(words.title, model, join_parts(*describe_processing(attention, kinds), note, pooled, faint))
    page, axes = _page(cells, size, (queries, keys), header, name_room)
    image = draw_cells(axes, cells, norm)
    label_axes(axes, queries, keys, words.axes)
    if any(parts):
        draw_part_lines(axes, parts, (0, 0), cells.state.shape)
        write_part_names(axes, parts, size, cells.state.shape)
    if max(cells.state.shape) <= _WRITE_VALUES_UP_TO and min(size) >= _VALUE_ROOM:
        write_values(axes, cells, image)
    page.colour_bar(axes, image, words.bar, extend, apart=name_room)
    page.legend(missing_legend(cells.state), EDGE, page.height - 30)
    return page.figure


def _only_map(attention: Attention) -> LayerMaps:
    maps = attention.layers[0] if len(attention.layers) == 1 else None
    if maps is None or maps.weights.shape[0] != 1:
        counts = ", ".join(f"{layer.weights.shape[0]} in layer {layer.layer}" for layer in attention.layers)
        raise UsageError(f"a heatmap shows one map, got {counts or 'none'}: select one layer and one head")
    if 0 in maps.weights.shape:
        raise UsageError("a heatmap needs at least one query and one key token, got none")
    return maps


def _cell_sizes(queries: int, keys: int) -> tuple[int, int]:
    """Return height and width of a cell in whole pixels; square, unless one side would be a thin strip."""
    square = _cell_size(max(queries, keys))
    shortest_side = 0.2 * square * max(queries, keys)
    tall, wide = (min(_cell_size(n), max(square, math.ceil(shortest_side / n))) for n in (queries, keys))
    return page_scale.cell_size(tall), page_scale.cell_size(wide)


def _cell_size(tokens: int) -> int:
    if tokens <= 64:
        return min(72, 500 // tokens + 12)
    return max(1, min(19, (1536 if tokens <= 512 else _MOST_CELLS) // tokens))


def _page(
    cells: Cells, size: tuple[int, int], sides: tuple[AxisLabels, AxisLabels], header: Header, name_room: float
) -> tuple[FigureLayout, Axes]:
    """Return a page with room for everything, and the axes of the map; names of parts need `name_room` pixels."""
    queries, keys = sides
    rows, columns = cells.state.shape
    height, width = rows * size[0], columns * size[1]
    left = EDGE + _TITLE_ROOM + queries.width + _TICK_ROOM
    below = (measure([], keys.size)[1] if keys.horizontal else keys.width) + _TICK_ROOM + _TITLE_ROOM + 14
    legend_room = 34 if (cells.state != DRAWN).any() else 0
    top = header.height + name_room
    bottom = top + max(height + below, 250) + legend_room + 10
    page = FigureLayout.blank(left + width + BAR_ROOM + name_room, bottom, header)
    return page, page.axes(left, top, width, height)
