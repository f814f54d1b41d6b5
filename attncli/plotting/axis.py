"""Labels of the axes of a map: as many as fit at a readable size without overlap, and the words that name a map."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from attncli.data import Attention, LayerMaps, TokenWindow, has_scale
from attncli.data.labels import label_with_position, labels
from attncli.plotting.text import DPI, FAINT, SMALL, SUBTITLE, fit_label, measure, style

PART_MARK = " · "
BRACKET = "shared keys"
BRACKET_NOTE = "brackets: heads that share keys and values"
TICK_STYLE: dict[str, Any] = {"length": 3, "width": 0.6, "pad": 2, "color": FAINT}
_SMALLEST, _LARGEST = 6.0, 9.0
_POSITION_SIZE, _POSITION_STEP = 8.0, 80
_LONGEST = 120  # columns of a label, however much room there is


@dataclass(frozen=True)
class AxisLabels:
    """The labels of one axis: tokens, or positions.

    centres     position of each label along the axis, in cells
    size        in points
    width       of the widest label, in pixels
    step        cells from one label to the next
    horizontal  whether each label fits the width of its cell, so that key labels need no rotation
    """

    centres: list[float]
    texts: list[str]
    size: float
    width: float
    step: int
    horizontal: bool
    are_tokens: bool = True


def fit_labels(
    names: list[str], cell: float, factor: int = 1, *, with_positions: bool = True, largest: float = _LARGEST
) -> AxisLabels:
    """Return the labels that fit along cells of `cell` pixels, each cell standing for `factor` tokens.

    Where only some tokens get a label, `with_positions` adds the position to each label.
    """
    size = _label_size(cell, largest)
    height = measure(names, size)[1]
    step = max(1, math.ceil((height + 2) / cell))
    cells = range(0, math.ceil(len(names) / factor), step)
    numbered = with_positions and step * factor > 1
    texts = [label_with_position(names[n * factor], n * factor) if numbered else names[n] for n in cells]
    width = measure(texts, size)[0]
    return AxisLabels([n + 0.5 for n in cells], texts, size, width, step, step == 1 and width <= 0.9 * cell)


def _label_size(cell: float, largest: float = _LARGEST) -> float:
    """Return the size of labels in points along cells of `cell` pixels."""
    return min(largest, max(_SMALLEST, cell / (DPI / 72) / 1.3))


def labels_of_axis(
    attention: Attention,
    axis: int,
    names: list[str],
    cell: float,
    factor: int,
    *,
    with_positions: bool = True,
    room: float = 0,
) -> AxisLabels:
    """Return the labels of the queries (axis 0) or keys (axis 1): tokens where they fit, else round positions.

    Tokens label a map of a whole text, and a window in which every token has room for its label. Rows and keys that
    stand for several tokens keep their labels, as their numbers are no positions in the text.

    names   labels of all tokens, or of all cells of a pooled map, at any length
    cell    pixels of a cell of the picture, which covers `factor` entries of `names`
    room    pixels that are free for a label: long ones are cut only beyond it
    """
    window, size = attention.sides[axis], _label_size(cell)
    names = [fit_label(name, size, room) for name in names]
    if has_scale(attention.kind) and (attention.queries, attention.keys)[axis].merged:
        return fit_labels(names, cell, factor, with_positions=False)
    if attention.window is not None and window.cell == 1:
        numbered = [label_with_position(name, window.first + n) for n, name in enumerate(names)]
        token_labels = fit_labels(numbered, cell, factor, with_positions=False)
        if token_labels.step * factor == 1:
            return token_labels
    elif attention.pool == "none":
        return fit_labels(names, cell, factor, with_positions=with_positions)
    return position_labels(window, cell / (window.cell * factor), cell)


def position_labels(window: TokenWindow, token: float, cell: float) -> AxisLabels:
    """Return round positions (in steps of 1, 2, 5, 10, …) where a token has `token` pixels and a cell `cell` pixels."""
    height = measure([], _POSITION_SIZE)[1]
    widest = measure([str(window.last)], _POSITION_SIZE)[0]
    smallest = max(_POSITION_STEP, widest + 2 * height) / token
    power = int(10 ** max(0, math.floor(math.log10(smallest))))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= smallest)
    positions = range(-(-window.first // step) * step, window.last + 1, step)
    centres = [(position - window.first + 0.5) * token / cell for position in positions]
    return AxisLabels(centres, [str(n) for n in positions], _POSITION_SIZE, widest, step, True, are_tokens=False)


def side_labels(attention: Attention, maps: LayerMaps) -> tuple[list[str], list[str]]:
    """Return the labels of queries and keys, at any length; numbers where a map is not as long as its tokens.

    A cell of several entries that stand for several tokens has the label of the first.
    """
    of_tokens = not has_scale(attention.kind)
    cells = (
        1 if of_tokens or not side.merged else cell
        for side, cell in zip((attention.queries, attention.keys), attention.cell, strict=True)
    )
    sides = zip((attention.queries, attention.keys), cells, maps.weights.shape[1:], strict=True)
    queries, keys = (
        names if len(names := labels(tokens, _LONGEST)[::cell]) == length else list(map(str, range(length)))
        for tokens, cell, length in sides
    )
    return queries, keys


def draw_ticks(axes: Axes, queries: AxisLabels, keys: AxisLabels) -> None:
    """Write the labels of both axes as ticks at the centres of their cells."""
    draw_query_ticks(axes, queries)
    draw_key_ticks(axes, keys)


def draw_query_ticks(axes: Axes, queries: AxisLabels) -> None:
    """Write the labels of the left axis."""
    axes.tick_params(**TICK_STYLE)
    axes.set_yticks(queries.centres, labels=queries.texts, **style(queries.size))


def draw_key_ticks(axes: Axes, keys: AxisLabels) -> None:
    """Write the labels of the lower axis, rotated unless each fits its cell."""
    axes.tick_params(**TICK_STYLE)
    axes.set_xticks(keys.centres, labels=keys.texts, **style(keys.size, rotation=0 if keys.horizontal else 90))


def draw_layer_head_axes(
    axes: Axes,
    layers: list[str],
    heads: list[str],
    cell: tuple[int, int],
    shared: Iterable[tuple[int, int]] = (),
) -> None:
    """Label the rows of a map as layers and its columns as heads; `cell` is (height, width) in pixels.

    shared  first and last column of heads that share keys and values: each group gets a bracket above the map
    """
    draw_brackets(axes, [(first, last + 1) for first, last in shared], 4 / cell[0])
    draw_query_ticks(axes, fit_labels(layers, cell[0], with_positions=False, largest=SMALL))
    draw_key_ticks(axes, fit_labels(heads, cell[1], with_positions=False, largest=SMALL))
    axes.set_ylabel("layer", **style(SUBTITLE))
    axes.set_xlabel("head", **style(SUBTITLE))


def draw_brackets(axes: Axes, spans: Iterable[tuple[float, float]], above: float) -> None:
    """Draw a bracket over each span of columns, `above` cells over the upper edge of a map."""
    spans = list(spans)
    gap = 0.12 * min((right - left for left, right in spans), default=0.0)
    for left, right in spans:
        inner = left + min(gap, 0.2), right - min(gap, 0.2)
        x, y = [inner[0], *inner, inner[1]], [-above / 4, -above, -above, -above / 4]
        axes.plot(x, y, color=FAINT, linewidth=1, clip_on=False, scalex=False, scaley=False, gid=BRACKET)


def label_axes(axes: Axes, queries: AxisLabels, keys: AxisLabels, titles: tuple[str, str]) -> None:
    """Write the labels and the titles of both axes; a title that is longer than its axis is shortened."""
    draw_ticks(axes, queries, keys)
    box = axes.get_window_extent()
    query, key = (
        title if labels.are_tokens else position_title(title)
        for title, labels in zip(titles, (queries, keys), strict=True)
    )
    axes.set_ylabel(fit_axis_title(query, box.height), **style(SUBTITLE))
    axes.set_xlabel(fit_axis_title(key, box.width), **style(SUBTITLE))


def position_title(title: str) -> str:
    """Return the title of an axis whose labels are positions.

    >>> position_title("target token (read)"), position_title("key token")
    ('target position (read)', 'key position')
    """
    return title.replace(" token", " position", 1)


def fit_axis_title(title: str, room: float) -> str:
    """Return the title of an axis, or its first word where it is wider than `room` pixels."""
    return title if measure([title], SUBTITLE)[0] <= room else title.split()[0]


def join_parts(*parts: str) -> str:
    """Return the parts that are not empty, joined into one line."""
    return PART_MARK.join(filter(None, parts))
