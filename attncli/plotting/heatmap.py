"""One head, or one aggregate of heads: what each token looks at, with token labels on both axes."""

from __future__ import annotations

import math
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attncli.data import Attention, LayerMaps
from attncli.errors import UsageError
from attncli.plotting.axis import (
    KEY,
    KIND_WORDS,
    QUERY,
    TICK,
    AxisTokens,
    axis_of,
    describe_processing,
    draw_ticks,
    draw_titles,
    joined,
    layer_words,
    pooling,
    sides_of,
)
from attncli.plotting.cells import DRAWN, Cells, cells_of, legend, paint, write_values
from attncli.plotting.colour_scale import faint_note, norm_of, weight_label
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, header_size
from attncli.plotting.marks import ROOM, draw_lines, parts_of, write_names
from attncli.plotting.text import measure
from attncli.plotting.theme import own_style

_MOST_CELLS = 2048
_WRITE_UP_TO = 8
_LINE = 26


class HeatmapText(NamedTuple):
    """What stands in the picture: its title, beside the colour bar, beside the rows and below the columns."""

    title: str
    bar: str
    axes: tuple[str, str] = (QUERY, KEY)


@own_style
def draw(
    attention: Attention,
    *,
    model: str = "",
    note: str = "",
    log: bool = False,
    vmax: float | None = None,
    words: HeatmapText | None = None,
) -> Figure:
    """Where does each token look in this head?

    Rows are queries, columns are keys, colours are weights; grey keys may not be seen, hatched is undefined.
    `vmax` is the top of the colour scale (by default the map's own largest weight); `log` shows four decades. Lines
    in a long text are where its segments or paragraphs begin. Above 2048 cells a side several share one, and the
    picture says so. `words` say what it is, where it is not a head's attention.
    """
    maps = _only_map(attention)
    whole = cells_of(maps)
    norm, extend = norm_of(whole.drawn, vmax, log)
    shown = sides_of(attention, maps)
    down, across = (math.ceil(len(each) / _MOST_CELLS) for each in shown)
    cells = Cells(whole.weights[0], whole.state[0]).pooled(down, across, attention.pool == "mean")
    size = _cell_sizes(*cells.state.shape)
    queries = axis_of(attention, 0, shown[0], size[0], down)
    keys = axis_of(attention, 1, shown[1], size[1], across)
    parts = parts_of(attention, size, (down, across))

    pooled = pooling(attention, down, across) if max(down, across) > 1 else ""
    faint = faint_note(whole.drawn, norm, attention.by)
    lines = [line for line in (model, joined(*describe_processing(attention), note, pooled, faint)) if line]
    words = words or HeatmapText(_title(attention, maps), weight_label(attention, log, (down, across)))
    title = words.title
    page, axes = _page(cells, size, (queries, keys), header_size(title, lines), ROOM if any(parts) else 0)
    image = paint(axes, cells, norm)
    draw_ticks(axes, queries, keys)
    draw_titles(axes, queries, keys, *words.axes)
    if any(parts):
        draw_lines(axes, parts, (0, 0), cells.state.shape)
        write_names(axes, parts, size, cells.state.shape)
    if max(cells.state.shape) <= _WRITE_UP_TO:
        write_values(axes, cells, image)
    page.header(title, lines)
    page.bar_beside(axes, image, words.bar, extend, apart=ROOM if any(parts) else 0)
    page.legend(legend(cells.state), EDGE, page.height - 30)
    return page.figure


def _only_map(attention: Attention) -> LayerMaps:
    maps = attention.layers[0] if len(attention.layers) == 1 else None
    if maps is None or maps.weights.shape[0] != 1:
        counts = ", ".join(f"{each.weights.shape[0]} in layer {each.layer}" for each in attention.layers)
        raise UsageError(f"a heatmap shows one map, got {counts or 'none'}: select one layer and one head")
    if 0 in maps.weights.shape:
        raise UsageError("a heatmap needs at least one query and one key token, got none")
    return maps


def _title(attention: Attention, maps: LayerMaps) -> str:
    head = f"head {maps.heads[0]}" if maps.heads else f"{attention.aggregate} of heads"
    return joined(KIND_WORDS[attention.kind], layer_words(maps), head)


def _cell_sizes(queries: int, keys: int) -> tuple[int, int]:
    """Height and width of a cell in whole pixels; square, unless one side would be a thin strip."""
    square = _cell_size(max(queries, keys))
    least = 0.2 * square * max(queries, keys)
    tall, wide = (min(_cell_size(n), max(square, math.ceil(least / n))) for n in (queries, keys))
    return tall, wide


def _cell_size(tokens: int) -> int:
    if tokens <= 64:
        return min(72, 500 // tokens + 12)
    return max(1, min(19, (1536 if tokens <= 512 else _MOST_CELLS) // tokens))


def _page(
    cells: Cells, size: tuple[int, int], sides: tuple[AxisTokens, AxisTokens], header: tuple[float, float], room: float
) -> tuple[FigureLayout, Axes]:
    """A page with room for everything; `room` for names above and on the right of the map."""
    queries, keys = sides
    rows, columns = cells.state.shape
    height, width = rows * size[0], columns * size[1]
    line = measure([], keys.size)[1]
    left = EDGE + _LINE + queries.width + TICK
    below = (line if keys.flat else keys.width) + TICK + _LINE + 14
    legend_room = 34 if (cells.state != DRAWN).any() else 0
    top = header[1] + room
    bottom = top + max(height + below, 250) + legend_room + 10
    page = FigureLayout.blank(max(left + width + BAR_ROOM + room, header[0]), bottom)
    return page, page.axes(left, top, width, height)
