"""Pictures of attention between segments: the strongest heads, the mean, every head, and each generated token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from attncli.data import Array, Attention, Kind, LayerMaps, Tokens
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import label, labels
from attncli.data.segments import GENERATED
from attncli.errors import UsageError
from attncli.plotting import grid
from attncli.plotting.axis import (
    TICK_STYLE,
    draw_key_ticks,
    draw_ticks,
    fit_axis_title,
    fit_labels,
    join_parts,
)
from attncli.plotting.cells import DRAWN, INVISIBLE, missing_legend, write_values
from attncli.plotting.colours import palette
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.ratio import ratio_panels
from attncli.plotting.text import FAINT, INK, SMALL, SUBTITLE, measure, style, with_fixed_style
from attncli.studies.segments.result import Segments

_REACH = 3
"""Value of log₂ ratio at the ends of the colour map."""
_ABOVE, _BELOW, _APART, _LOWEST = 34, 66, 40, 150
_VALUE_ROOM, _SIDE = 40, 560
# Okabe & Ito 2008: different for every kind of colour vision; the rest is grey
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_GREYS = {"rest": "#9a9a9a", "special": "#cfcfcf"}
_WIDEST_BAR, _NARROWEST_BAR, _BARS_ROOM = 34, 2, 1500
_SHARES, _UNIFORM, _LEFT = 260, 110, 64
_MOST_BARS, _BAR_STEP, _BAR_LENGTH, _SCORE_ROOM = 20, 24, 560, 150
_MARKS: dict[str, dict[str, Any]] = {
    "uniform_mass": {"marker": "|", "color": INK, "markersize": 11, "markeredgewidth": 1.6, "label": "uniform"},
    "positional_mass": {"marker": "x", "color": INK, "markersize": 5, "markeredgewidth": 1.2, "label": "by position"},
}


@with_fixed_style
def draw(segments: Segments, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN) -> Figure:
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
    title = join_parts(kinds.title(kind), "attention between segments")
    header = Header.of(title, model, join_parts(segments.mean_name, segments.rows_note(kind), note))
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


def draw_heads(
    segments: Segments, kind: Kind, most: int, *, model: str = "", note: str = "", kinds: KindNames = KNOWN
) -> Figure | None:
    """Return the attention between segments of every head on one page.

    None if there are more than `most` segments on a side, or a single head.
    """
    table = segments.table()
    of_kind = table["kind"] == kind
    sides, cells = _segments_of(table, of_kind)
    head_of_cell = list(zip(table["layer"][of_kind].tolist(), table["head"][of_kind].tolist(), strict=True))
    numbers = {head: number for number, head in enumerate(dict.fromkeys(head_of_cell))}
    if max(map(len, sides)) > most or len(numbers) == 1:
        return None
    maps, visible = (np.zeros((len(numbers), *map(len, sides)), dtype) for dtype in (float, bool))
    cell_of_head = [numbers[head] for head in head_of_cell], *cells
    maps[cell_of_head], visible[cell_of_head] = table["mass"][of_kind], table["uniform_mass"][of_kind] > 0
    layer_maps = []
    for layer in dict.fromkeys(layer for layer, _ in numbers):
        heads = tuple(head for other, head in numbers if other == layer and isinstance(head, int))
        rows_of_layer = [number for (other, _), number in numbers.items() if other == layer]
        layer_maps.append(LayerMaps(layer, heads, maps[rows_of_layer], visible[rows_of_layer]))
    combined = "none" if layer_maps[0].heads else next(str(head) for _, head in numbers)
    queries, keys = map(Tokens.plain, sides)
    attention = Attention(kind, queries, keys, tuple(layer_maps), aggregate=combined)
    note = join_parts("attention between segments", segments.rows_note(kind), note)
    reading = "in each panel: rows are {} segments, columns are {} segments".format(*kinds.sides(kind))
    return grid.draw(attention, model=model, note=note, kinds=kinds, reading=reading)


def draw_strongest(
    segments: Segments, kind: Kind, *, model: str = "", note: str = "", kinds: KindNames = KNOWN
) -> Figure | None:
    """Return the picture of the heads whose share is highest above both baselines: a bar for each, the highest first.

    The marks on a bar are the share under uniform attention and the share that position alone gives; the retrieval
    score is on the right. None if no head has a share above both baselines.
    """
    table = {name: column[:_MOST_BARS] for name, column in segments.strongest(kind).items()}
    if not len(table["head"]):
        return None
    sources = list(dict.fromkeys(table["from"].tolist()))
    reading = " and ".join(segments.described(kind, source) for source in sources[:3])
    lines = join_parts(f"from {reading}", "ranked by share above both baselines", note)
    return _draw_bars_of_heads(table, Header.of(join_parts(kinds.title(kind), "heads that attend most"), model, lines))


@with_fixed_style
def _draw_bars_of_heads(table: dict[str, Array], header: Header) -> Figure:
    """Return the picture of these rows of the table of heads, from the top."""
    count = len(table["head"])
    sources, names = (list(dict.fromkeys(table[axis].tolist())) for axis in ("from", "to"))
    heads = zip(*(table[name].tolist() for name in ("layer", "head", "from", "to")), strict=True)
    ends = [f"{label(source)} → {label(key)}" if len(sources) > 1 else label(key) for *_, source, key in heads]
    bar_labels = [
        f"{layer}.{head}  {end}" for layer, head, end in zip(table["layer"], table["head"], ends, strict=True)
    ]
    left, top = EDGE + measure(bar_labels, SMALL)[0] + 14, header.height + 14
    page = FigureLayout.blank(left + _BAR_LENGTH + _SCORE_ROOM, top + count * _BAR_STEP + 110, header)
    axes = page.axes(left, top, _BAR_LENGTH, count * _BAR_STEP)
    colours = dict(zip(names, _colours(names), strict=True))
    bars = [colours[name] for name in table["to"].tolist()]
    axes.barh(np.arange(count), table["mass"], 0.72, color=bars, linewidth=0, alpha=0.75)
    marks = [
        line
        for column, mark in _MARKS.items()
        if not np.isnan(table[column]).all()
        for line in axes.plot(table[column], np.arange(count), linestyle="none", **mark)
    ]
    ticks = np.arange(0, np.ceil(table["mass"].max() * 5) + 1) / 5
    axes.set(xlim=(0, ticks[-1]), ylim=(count - 0.5, -0.5))
    axes.tick_params(**TICK_STYLE)
    axes.set_yticks(np.arange(count), labels=bar_labels, **style(SMALL))
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks], **style(SMALL))
    axes.set_xlabel("share of the attention (fraction)", **style(SUBTITLE))
    if "retrieval" in table and not np.isnan(table["retrieval"]).all():
        right = left + _BAR_LENGTH + _SCORE_ROOM - EDGE
        page.write(right, top - 22, "retrieval score", SMALL, FAINT, ha="right")
        for number, score in enumerate(table["retrieval"]):
            middle = top + (number + 0.5) * _BAR_STEP
            page.write(right, middle, "" if np.isnan(score) else f"{score:.3f}", SMALL, ha="right", va="center")
    for number, mark in enumerate(marks):
        page.legend([mark], left + 160 * number - 10, page.height - 32)
    return page.figure


@with_fixed_style
def draw_tokens(
    segments: Segments,
    kind: Kind,
    text: int,
    queries: Tokens,
    *,
    model: str = "",
    note: str = "",
    kinds: KindNames = KNOWN,
) -> Figure:
    """Return the picture of generated tokens: which part of the text does the answer read, token by token?

    A bar for each generated token: the shares of its attention to each segment, the mean over heads and layers. Below:
    the shares of uniform attention over the visible keys, which only the lengths of the segments decide. Raises
    UsageError where no token of this text was generated.

    queries  all tokens of the text
    """
    positions, names, mass, uniform = _shares(segments, kind, text)
    wide = max(_NARROWEST_BAR, min(_WIDEST_BAR, _BARS_ROOM // len(positions)))
    all_labels = labels(queries)
    token_labels = fit_labels([all_labels[n] for n in positions], wide, with_positions=False, largest=SMALL)
    title = join_parts(kinds.title(kind), "attention of generated tokens")
    read = f"rows as {segments.rows_as.get((kind, GENERATED), 'input')}"
    header = Header.of(title, model, join_parts(segments.mean_name, read, note))
    segment_labels = [label(name) for name in names]
    width, top = len(positions) * wide, header.height + _ABOVE
    uniform_top = top + _SHARES + _ABOVE + 20
    bottom = uniform_top + _UNIFORM + (20 if token_labels.horizontal else token_labels.width) + 70
    needed = 2 * EDGE + _LEFT + width + measure(segment_labels, SMALL)[0] + 60
    page = FigureLayout.blank(needed, max(bottom, top + 22 * len(names) + 40), header)
    colours = _colours(names)
    for shares, name, axes_top, tall in (
        (mass, "share of the attention", top, _SHARES),
        (uniform, "uniform attention", uniform_top, _UNIFORM),
    ):
        axes = page.axes(EDGE + _LEFT, axes_top, width, tall)
        _draw_bars(axes, shares, colours, wide)
        axes.set_title(name, **style(SUBTITLE, loc="left", pad=6))
    draw_key_ticks(axes, token_labels)
    axes.set_xlabel(fit_axis_title("generated token", width), **style(SUBTITLE))
    handles = [Patch(facecolor=colour, label=name) for name, colour in zip(segment_labels, colours, strict=True)]
    for number, handle in enumerate(reversed(handles)):
        page.legend([handle], EDGE + _LEFT + width + 16, top + 22 * number)
    return page.figure


def _shares(segments: Segments, kind: Kind, text: int) -> tuple[list[int], list[str], Array, Array]:
    """Return the positions of generated tokens, the segments, and [segment, token] shares: measured and uniform."""
    table = segments.tokens_table()
    rows = (table["kind"] == kind) & (table["text"] == text) if table else np.zeros(0, bool)
    if not rows.any():
        raise UsageError(f"there is nothing to draw: no token of text {text}, {kind}, was generated by the model")
    queries, targets = (table[name][rows].tolist() for name in ("query", "to"))
    positions, names = list(dict.fromkeys(queries)), list(dict.fromkeys(targets))
    cells = np.array([names.index(name) for name in targets]), np.array([positions.index(query) for query in queries])
    layers = len(dict.fromkeys(table["layer"][rows].tolist()))
    mass, uniform = (np.zeros((len(names), len(positions))) for _ in range(2))
    np.add.at(mass, cells, table["mass"][rows] / layers)
    np.add.at(uniform, cells, table["uniform_mass"][rows] / layers)
    return positions, names, mass, uniform


def _draw_bars(axes: Axes, shares: Array, colours: Sequence[str], wide: int) -> None:
    centres = np.arange(shares.shape[1]) + 0.5
    base = np.zeros(shares.shape[1])
    for row, colour in zip(shares, colours, strict=True):
        axes.bar(centres, row, bottom=base, width=1 - 1 / wide if wide > 4 else 1, color=colour, linewidth=0)
        base += row
    axes.set_xlim(0, shares.shape[1])
    axes.set_ylim(0, 1)
    axes.tick_params(axis="y", **TICK_STYLE)
    axes.set_yticks([0, 0.5, 1], labels=["0", "0.5", "1"], **style(SMALL))
    axes.set_ylabel("fraction", **style(SUBTITLE))


def _colours(names: Sequence[str]) -> list[str]:
    """Return a colour for each segment; many segments go from dark to light in the order of the text."""
    coloured = [name for name in names if name not in _GREYS]
    colours: Sequence[str] = _COLOURS[: len(coloured)]
    if len(coloured) > len(_COLOURS):
        colours = palette(len(coloured))
    by_name = _GREYS | dict(zip(coloured, colours, strict=True))
    return [by_name[name] for name in names]
