"""The pictures of `attribute`: bars of the tokens that count most, and a map of inputs and predictions."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.data import Array
from attncli.data.labels import escape_invisible, label
from attncli.plotting.axis import draw_ticks, fit_axis_title, fit_labels, join_parts
from attncli.plotting.cells import DRAWN, INVISIBLE, Cells, draw_cells, missing_legend, write_values
from attncli.plotting.colours import COLOURS, DIVERGING
from attncli.plotting.highlight_colours import signed_colours
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, fit_label, measure, style, with_fixed_style
from attncli.studies.attribute.coloured import score_name, title_of
from attncli.studies.attribute.result import AttributedUnit, Attribution

_MOST_BARS, _MOST_ROWS, _MOST_COLUMNS = 24, 96, 64
_BAR, _PANEL, _BETWEEN = 20, 250, 36
_LABEL_ROOM, _WIDEST_NAME = 320, 24
_WIDTH, _HEIGHT, _VALUE_ROOM = 900, 760, 34
_FOR, _AGAINST = signed_colours()[-14], signed_colours()[13]


@with_fixed_style
def draw_bars(result: Attribution, output: int = 0, *, model: str = "", note: str = "") -> Figure:
    """Return the units that count most for a prediction as bars, a panel for each method.

    The first method gives the order; with many units, those with the largest shares by any method are drawn.
    """
    shares = np.nan_to_num(result.shared[:, output])
    order = np.argsort(-np.abs(shares[0]), kind="stable")
    most = np.argsort(-np.abs(shares).max(0), kind="stable")[:_MOST_BARS]
    shown = [number for number in order.tolist() if number in most]
    names = [fit_label(_name(result, result.units[number]), SUBTITLE, _LABEL_ROOM) for number in shown]
    left, count = EDGE + measure(names, SUBTITLE)[0] + 12, len(result.methods)
    cut = "" if len(shown) == shares.shape[1] else f"{len(shown)} of {shares.shape[1]} {result.unit}s, the largest"
    header = Header.of(f"attribution of {score_name(result, result.outputs[output])}", model, join_parts(note, cut))
    width = left + count * (_PANEL + _BETWEEN) + EDGE
    page = FigureLayout.blank(width, header.height + 24 + _BAR * len(shown) + 60, header)
    reach = float(np.abs(shares).max()) or 1.0
    for number, method in enumerate(result.methods):
        axes = page.axes(left + number * (_PANEL + _BETWEEN), header.height + 24, _PANEL, _BAR * len(shown))
        values, rows = shares[number, shown], np.arange(len(shown))
        axes.barh(rows, values, height=0.72, color=[_FOR if value >= 0 else _AGAINST for value in values])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        # room for the numbers beside the bars
        axes.set_xlim(-1.28 * reach if method.signed else 0, 1.28 * reach)
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set_title(fit_label(method.name, SUBTITLE, _PANEL), **style(SUBTITLE, pad=4))
        axes.set_xlabel(
            join_parts("share", (method.baseline and f"baseline {method.baseline}") or ""), **style(SMALL, FAINT)
        )
        for row, value in enumerate(values.tolist()):
            side = {"ha": "left" if value >= 0 else "right", "va": "center"}
            axes.annotate(
                f"{value:z.3f}",
                (value, row),
                (4 if value >= 0 else -4, 0),
                textcoords="offset points",
                **style(SMALL, **side),
            )
        if not number:
            axes.set_yticks(rows, labels=names, **style(SUBTITLE))
            axes.tick_params(axis="y", length=0, pad=6)
    return page.figure


@with_fixed_style
def draw_outputs(result: Attribution, method: int = 0, *, model: str = "", note: str = "") -> Figure:
    """Return the shares of one method as a map: a row for each input, a column for each prediction.

    Of many inputs those with the largest shares are drawn, in the order of the text. Grey inputs are not read.
    """
    of_method = result.methods[method]
    shares = result.shared[method].T
    largest = np.abs(np.nan_to_num(shares)).max(1)
    rows = np.sort(np.argsort(-largest, kind="stable")[:_MOST_ROWS])
    columns = np.arange(min(len(result.outputs), _MOST_COLUMNS))
    values = shares[np.ix_(rows, columns)]
    state = np.where(np.isfinite(values), DRAWN, INVISIBLE).astype(np.uint8)
    reach = float(np.abs(np.nan_to_num(values)).max(initial=0.0)) or 1.0
    # faint shares would be written as -0.00
    drawn = np.where(np.abs(np.nan_to_num(values)) <= reach / 200, 0, np.nan_to_num(values))
    cells = Cells(drawn.astype(np.float32), state)
    tall, wide = max(8, min(26, _HEIGHT // len(rows))), max(12, min(64, _WIDTH // len(columns)))
    left = fit_labels([_name(result, result.units[row]) for row in rows], tall, with_positions=False)
    names = [label(output.name, width=_WIDEST_NAME) for output in result.outputs[: len(columns)]]
    below = fit_labels(names, wide, with_positions=False)
    page_left = EDGE + left.width + 40
    header = Header.of(f"{of_method.name}, {title_of(result)}", model, join_parts(note, _cut(result, rows, columns)))
    bottom = header.height + max(len(rows) * tall + (below.size if below.horizontal else below.width) + 84, 250)
    page = FigureLayout.blank(page_left + len(columns) * wide + BAR_ROOM, bottom, header)
    axes = page.axes(page_left, header.height, len(columns) * wide, len(rows) * tall)
    norm = Normalize(-reach, reach) if of_method.signed else Normalize(0, reach)
    image = draw_cells(axes, cells, norm, DIVERGING if of_method.signed else COLOURS)
    draw_ticks(axes, left, below)
    axes.set_ylabel(fit_axis_title(f"input {result.unit}", len(rows) * tall), **style(SUBTITLE))
    axes.set_xlabel(fit_axis_title("prediction", len(columns) * wide), **style(SUBTITLE))
    if min(tall / 0.55, wide) >= _VALUE_ROOM:
        write_values(axes, cells, image)
    page.colour_bar(axes, image, "share of the prediction")
    page.legend(missing_legend(state, "not read"), page_left, bottom - 24)
    return page.figure


def _name(result: Attribution, unit: AttributedUnit) -> str:
    """Return the label of a unit: of a token or word with its position, of two sides with the side."""
    name = label(escape_invisible(unit.label), width=_WIDEST_NAME)
    if result.unit == "segment":
        return name
    side = f"{unit.side} " if len(result.tokens) > 1 else ""
    return f"{name} ({side}{unit.positions[0]})"


def _cut(result: Attribution, rows: Array, columns: Array) -> str:
    """Return which inputs and predictions are drawn if not all are."""
    inputs = "" if len(rows) == len(result.units) else f"{len(rows)} of {len(result.units)} inputs, the largest"
    outputs = len(result.outputs)
    predictions = "" if len(columns) == outputs else f"the first {len(columns)} of {outputs} predictions"
    return join_parts(inputs, predictions)
