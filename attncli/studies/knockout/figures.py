"""The picture of `knockout`: the change of the probability for each layer and token, word or segment."""

from dataclasses import replace

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.data import Array, Kind
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import escape_invisible, label
from attncli.plotting.axis import AxisLabels, draw_ticks, fit_axis_title, fit_labels, join_parts
from attncli.plotting.cells import DRAWN, GAP, Cells, draw_cells, write_values
from attncli.plotting.colours import DIVERGING
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.text import SUBTITLE, measure, style, with_fixed_style
from attncli.studies.knockout.result import NO_EFFECT, Knockout

_MOST_COLUMNS = 128
_ALL = "all layers"
_WIDTH, _HEIGHT = 1000, 640
_VALUE_ROOM = 34
_WIDEST_NAME = 24


@with_fixed_style
def draw(result: Knockout, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
    """Return the change of the probability when attention to a key is blocked: a row per window of layers.

    The last row is the block in all layers. Of many keys those with the largest changes are drawn, in the order of the
    text.
    """
    columns = result.of_kind(kind)
    layers, changes = result.grid(kind)
    shown = _shown(columns["change"], changes)
    values = np.vstack([changes, np.zeros((1, changes.shape[1])), columns["change"]])[:, shown]
    state = np.full(values.shape, DRAWN, np.uint8)
    state[len(layers)] = GAP
    rows, count = values.shape
    tall, wide = max(6, min(34, _HEIGHT // rows)), max(8, min(54, _WIDTH // count))
    names = [label(str(name), width=_WIDEST_NAME) for name in columns["name"][shown]]
    if result.unit != "segment":
        names = [f"{name} ({position})" for name, position in zip(names, columns["key"][shown], strict=True)]
    below = fit_labels(names, wide, with_positions=False)
    left = _row_labels(layers, tall)
    page_left = EDGE + left.width + 40
    header = Header.of(_title(result, kind, kinds), model, join_parts(_about(result, kind), note, _cut(shown, changes)))
    bottom = header.height + max(rows * tall + (below.size if below.horizontal else below.width) + 56, 250)
    page = FigureLayout.blank(page_left + count * wide + BAR_ROOM, bottom, header)
    axes = page.axes(page_left, header.height, count * wide, rows * tall)
    reach = float(np.abs(values).max()) or 1.0
    faint = np.abs(values) <= max(NO_EFFECT, reach / 200)
    cells = Cells(np.where(faint, 0, values).astype(np.float32), state)
    image = draw_cells(axes, cells, Normalize(-reach, reach), DIVERGING)
    draw_ticks(axes, left, below)
    window = result.window[kind]
    middle = "layer" if window == 1 else f"middle of {window} layers"
    axes.set_ylabel(fit_axis_title(middle, rows * tall), **style(SUBTITLE))
    axes.set_xlabel(fit_axis_title(f"blocked {result.unit}", count * wide), **style(SUBTITLE))
    if min(tall / 0.4, wide) >= _VALUE_ROOM:
        write_values(axes, cells, image)
    page.colour_bar(axes, image, f"change of the {result.score}")
    return page.figure


def _row_labels(layers: list[int], tall: float) -> AxisLabels:
    """Return the labels of the rows: the layers that have room, and the last row."""
    of_layers = fit_labels(list(map(str, layers)), tall, with_positions=False)
    centres, texts = [*of_layers.centres, len(layers) + 1.5], [*of_layers.texts, _ALL]
    return replace(of_layers, centres=centres, texts=texts, width=measure(texts, of_layers.size)[0])


def _title(result: Knockout, kind: Kind, kinds: KindNames) -> str:
    name = escape_invisible(result.prediction)
    explained = name if result.score == "number" else f"p({name!r})"
    return join_parts(kinds.title(kind), f"blocked attention and {explained}")


def _about(result: Knockout, kind: Kind) -> str:
    """Return the probability without blocked attention, and the rows from which attention is blocked."""
    rows = result.query[kind]
    listed = ", ".join(map(str, rows[:6])) + (", …" if rows[6:] else "")
    from_rows = f"blocked from token{'s' if len(rows) > 1 else ''} {listed}"
    return join_parts(f"{result.probability:.3f} without blocked attention", from_rows)


def _shown(change: Array, changes: Array) -> Array:
    """Return the columns that are drawn, ascending: those with the largest changes in any row."""
    largest = np.abs(np.vstack([changes, change])).max(0)
    return np.sort(np.argsort(-largest, kind="stable")[:_MOST_COLUMNS])


def _cut(shown: Array, changes: Array) -> str:
    count = changes.shape[1]
    return "" if len(shown) == count else f"{len(shown)} of {count} with the largest changes"
