"""Many heads on one page: all layers x heads of a kind, the heads of one layer and their mean, or named maps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attncli.data import Attention, LayerMaps
from attncli.data.grouped_heads import GroupedHeads
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.zoom import combined_name
from attncli.errors import UsageError
from attncli.plotting.axis import BRACKET_NOTE, AxisLabels, draw_brackets, join_parts, labels_of_axis, side_labels
from attncli.plotting.captions import describe_processing, faint_note, layer_name, pooling_note, weight_label
from attncli.plotting.cells import DRAWN, Cells, colour_norm, draw_cells, draw_frame, layer_cells, missing_legend
from attncli.plotting.colours import begins_light
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, Header
from attncli.plotting.marks import Parts, draw_part_lines, segment_starts, text_parts
from attncli.plotting.mosaic import Geometry, Panels, compose_panels, near_square, plan_mosaic, scale_each_panel
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, measure, style, with_fixed_style

_OWN, _OWN_LOG = "share of own maximum (fraction)", "share of own maximum (fraction, log scale)"
_GAPS, _GAPS_WITH_NAMES = (5, 5), (44, 14)
_MOST_TOKENS_PER_LABEL = 4
_LINE, _BRACKETS = 26, 10
_FREE_UP_TO = 1200


@dataclass(frozen=True)
class _Content:
    """Panels in rows, with the names of rows and columns, or a name for each panel.

    shared  first and last column of the heads that share keys and values
    """

    title: str
    panels: Panels
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    names: Sequence[Sequence[str]] = ()
    shared: Sequence[tuple[int, int]] = ()


@with_fixed_style
def draw(
    attention: Attention,
    *,
    model: str = "",
    note: str = "",
    kinds: KindNames = KNOWN,
    log: bool = False,
    vmax: float | None = None,
    each: bool = False,
    title: str = "",
    names: Sequence[str] = (),
    reading: str = "",
) -> Figure:
    """Return a page of all maps: what do these heads look like side by side?

    Several layers: a row per layer, a column per head. One layer: its heads and, last, their mean. Panels of many
    tokens are pooled: a cell is the largest weight, so that single strong weights stay visible, or the mean where the
    maps are means already. Raises UsageError where there is no map or no token.

    vmax     top of the shared colour scale; by default the largest weight
    each     give each panel its own colour scale, as the picture then says
    names    different names of all maps: they are drawn one after the other, each under its name, below `title`
    reading  what rows and columns are, for the line below the panels; by default that they are tokens
    """
    content = _content(attention, kinds, title, names)
    queries, keys = zip(*(side_labels(attention, maps) for maps in attention.layers), strict=True)
    sides = max(queries, key=len), max(keys, key=len)
    panels = scale_each_panel(content.panels) if each else content.panels
    geometry = _geometry(content, (len(sides[0]), len(sides[1])))
    cells = compose_panels(panels, geometry, attention.pool == "mean")
    norm, extend = colour_norm(cells.drawn, 1.0 if each else vmax, log)

    drawn = np.concatenate([panel.drawn for line in panels for panel in line if panel])
    faint, brackets = faint_note(drawn, norm, attention.by), BRACKET_NOTE if content.shared else ""
    details = join_parts(_details(attention, note, geometry, each, kinds), brackets, faint)
    layout = _Layout(content, geometry, _margin_labels(attention, sides, geometry, cells.state.shape))
    reading = reading or _reading(attention, kinds)
    page, axes = layout.page(cells, Header.of(content.title, model, details), reading)
    image = draw_cells(axes, cells, norm, framed=False)
    layout.write_names(axes)
    layout.write_tokens(axes)
    layout.draw_lines(axes, attention)
    label = (_OWN_LOG if log else _OWN) if each else weight_label(attention, log, geometry.pool)
    page.colour_bar(axes, image, label, extend, apart=layout.spill)
    page.write(EDGE, page.height - 56, reading, SMALL, FAINT)
    page.legend(missing_legend(cells.state), EDGE, page.height - 30)
    return page.figure


def _reading(attention: Attention, kinds: KindNames) -> str:
    """Return what the rows and columns of the panels are."""
    row, column = kinds.sides(attention.kind)
    how = ", each in the row that predicts it" if attention.rows_as == "predicted" else ""
    how = how or (", each in the row that reads it" if row == "target" else "")
    return f"in each panel: rows are {row} tokens{how}{';' if how else ','} columns are {column} tokens"


def _content(attention: Attention, kinds: KindNames, title: str, names: Sequence[str]) -> _Content:
    if not attention.layers or any(0 in maps.weights.shape for maps in attention.layers):
        raise UsageError("a grid needs at least one layer, one head, one query and one key token, got none")
    kind = kinds.title(attention.kind)
    layers = [_named_cells(attention, maps) for maps in attention.layers]
    if names:
        cells = [cells for layer in layers for cells in layer.values()]
        return _wrapped(join_parts(kind, title), dict(zip(names, cells, strict=True)))
    if len(layers) == 1:
        return _heads_of_layer(attention, kind, layers[0], kinds.grouped)
    if all(len(layer) == 1 for layer in layers):
        return _map_per_layer(attention, kind, layers)
    heads = sorted({head for maps in attention.layers for head in maps.heads})
    return _Content(
        title=join_parts(kind, f"{len(layers)} layers x {len(heads)} heads"),
        panels=[[layer.get(f"head {head}") for head in heads] for layer in layers],
        rows=[str(maps.layer) for maps in attention.layers],
        columns=list(map(str, heads)),
        shared=kinds.grouped.groups(attention.kind, [maps.layer for maps in attention.layers], heads),
    )


def _heads_of_layer(attention: Attention, kind: str, panels: dict[str, Cells], grouped: GroupedHeads) -> _Content:
    maps = attention.layers[0]
    heads = f"{len(panels)} heads" if len(panels) > 1 else next(iter(panels))
    if maps.heads:
        panels = dict(zip(grouped.names(attention.kind, maps.layer, maps.heads), panels.values(), strict=True))
    if len(maps.heads) > 1 and attention.can_combine_heads("mean"):
        mean = attention.mean("head")
        panels |= _named_cells(mean, mean.layers[0])
        heads += " and their mean"
    return _wrapped(join_parts(kind, layer_name(maps), heads), panels)


def _map_per_layer(attention: Attention, kind: str, layers: Sequence[dict[str, Cells]]) -> _Content:
    named = [(layer_name(maps), *layer.popitem()) for maps, layer in zip(attention.layers, layers, strict=True)]
    head_names = {name for _, name, _ in named}
    common = head_names.pop() if len(head_names) == 1 else ""
    panels = {layer if common else f"{layer} · {name}": cells for layer, name, cells in named}
    return _wrapped(join_parts(kind, f"{len(panels)} layers", common), panels)


def _wrapped(title: str, panels: Mapping[str, Cells]) -> _Content:
    names, columns = list(panels), near_square(len(panels))
    lines = [names[n : n + columns] for n in range(0, len(names), columns)]
    return _Content(title, panels=[[panels[name] for name in line] for line in lines], names=lines)


def _named_cells(attention: Attention, maps: LayerMaps) -> dict[str, Cells]:
    cells = layer_cells(maps)
    names = [f"head {head}" for head in maps.heads] or [f"{combined_name(attention.aggregate)} of heads"]
    return {name: Cells(*pair) for name, *pair in zip(names, cells.weights, cells.state, strict=True)}


def _geometry(content: _Content, tokens: tuple[int, int]) -> Geometry:
    """Return the sizes of the mosaic, with panels further apart where they are narrower than their names."""
    counts = (len(content.panels), max(map(len, content.panels)))
    geometry = plan_mosaic(tokens, counts, _GAPS_WITH_NAMES if content.names else _GAPS)
    names = [name for line in content.names for name in line] or content.columns
    needed = measure(names, SUBTITLE)[0] + 8 - geometry.columns * geometry.wide
    across = max(geometry.gap[1], math.ceil(needed / geometry.wide))
    return replace(geometry, gap=(geometry.gap[0], across))


def _details(attention: Attention, note: str, geometry: Geometry, each: bool, kinds: KindNames) -> str:
    scale = "each panel has its own colour scale" if each else "all panels share one colour scale"
    segments = dict.fromkeys(name for _, name in segment_starts(attention.queries))
    lines = f"lines where segments begin: {', '.join(segments)}" if any(_segments(attention, geometry)) else ""
    processing = describe_processing(attention, kinds)
    return join_parts(*processing, note, scale, pooling_note(attention, *geometry.pool), lines)


def _segments(attention: Attention, geometry: Geometry) -> tuple[Parts, Parts]:
    return text_parts(attention, (geometry.tall, geometry.wide), geometry.pool, segments_only=True)


def _margin_labels(
    attention: Attention, sides: Sequence[list[str]], geometry: Geometry, shape: tuple[int, ...]
) -> tuple[AxisLabels | None, AxisLabels | None]:
    """Return the labels of the panels: positions, or tokens if at least every fourth gets a label; None for too few."""
    # long labels use what is free on a page of usual size, beside or below all panels
    free = [_FREE_UP_TO - BAR_ROOM - shape[1] * geometry.wide, _FREE_UP_TO - BAR_ROOM - shape[0] * geometry.tall]
    queries, keys = (
        labels_of_axis(attention, axis, sides[axis], size, geometry.pool[axis], with_positions=False, room=free[axis])
        for axis, size in enumerate((geometry.tall, geometry.wide))
    )
    # positions further down or to the right would reach into the next panel
    last = geometry.rows - 16 / geometry.tall, geometry.columns - keys.width / 2 / geometry.wide
    return _useful_labels(queries, last[0]), _useful_labels(keys, last[1])


def _useful_labels(side: AxisLabels, last: float) -> AxisLabels | None:
    if side.are_tokens:
        return side if side.step <= _MOST_TOKENS_PER_LABEL else None
    count = sum(centre <= last for centre in side.centres)
    return replace(side, centres=side.centres[:count], texts=side.texts[:count]) if count > 1 else None


@dataclass(frozen=True)
class _Layout:
    """The places of panels, of their names and of the token labels."""

    content: _Content
    geometry: Geometry
    labels: tuple[AxisLabels | None, AxisLabels | None]

    def page(self, cells: Cells, header: Header, reading: str) -> tuple[FigureLayout, Axes]:
        """Return a page with room for everything, and axes over all panels."""
        rows, columns = cells.state.shape
        height, width = rows * self.geometry.tall, columns * self.geometry.wide
        queries, keys = self.labels
        left = EDGE + self._label_room(queries) + self._row_name_room()
        top = header.height + (2 * _LINE if self.content.columns else _LINE) + self._bracket_room
        below = measure([], keys.size)[1] + 14 if keys and not keys.are_tokens else self._label_room(keys)
        legend_room = 34 if (cells.state < DRAWN).any() else 6
        bottom = max(top + height + below, header.height + 300) + 64 + legend_room
        needed = max(left + width + self.spill + BAR_ROOM, 2 * EDGE + measure([reading], SMALL)[0])
        page = FigureLayout.blank(needed, bottom, header)
        return page, page.axes(left, top, width, height)

    @property
    def spill(self) -> float:
        """The pixels by which the widest name above a panel of the last column reaches beyond the panel."""
        full = max(map(len, self.content.panels))
        last = [names[-1] for names in self.content.names if len(names) == full]
        return max(0.0, measure(last, SUBTITLE)[0] - self.geometry.columns * self.geometry.wide) if last else 0.0

    @property
    def _bracket_room(self) -> int:
        return _BRACKETS if self.content.shared else 0

    def _label_room(self, side: AxisLabels | None) -> float:
        return side.width + 14 if side else 0

    def _row_name_room(self) -> float:
        return measure(self.content.rows, SUBTITLE)[0] + _LINE + 16 if self.content.rows else 0

    def write_names(self, axes: Axes) -> None:
        """Write layer numbers on the left and head numbers on top, or a name above each panel."""
        geometry, content = self.geometry, self.content
        left = -(self._label_room(self.labels[0]) + 10) / geometry.wide
        for row, name in enumerate(content.rows):
            middle = geometry.top(row) + geometry.rows / 2
            axes.text(left, middle, name, **style(SUBTITLE, ha="right", va="center"))
        above = style(SUBTITLE, ha="center", va="bottom")
        for column, name in enumerate(content.columns):
            left_of_name = geometry.left(column) + geometry.columns / 2
            axes.text(left_of_name, -(6 + self._bracket_room) / geometry.tall, name, **above)
        spans = [(geometry.left(first), geometry.left(last) + geometry.columns) for first, last in content.shared]
        draw_brackets(axes, spans, 8 / geometry.tall)
        for row, names in enumerate(content.names):
            for column, name in enumerate(names):
                top = geometry.top(row) - 5 / geometry.tall
                axes.text(geometry.left(column), top, name, **(above | {"ha": "left"}))
        if content.rows:
            middle = (geometry.top(len(content.rows)) - geometry.gap[0]) / 2
            left -= (self._row_name_room() - 16) / geometry.wide
            axes.text(left, middle, "layer", **style(SUBTITLE, rotation=90, ha="left", va="center"))
            middle = (geometry.left(len(content.columns)) - geometry.gap[1]) / 2
            axes.text(middle, -(6 + _LINE + self._bracket_room) / geometry.tall, "head", **above)

    def write_tokens(self, axes: Axes) -> None:
        geometry, (queries, keys), panels = self.geometry, self.labels, self.content.panels
        if queries:
            look = style(queries.size, ha="right", va="center_baseline")
            for row in range(len(panels)):
                for centre, text in zip(queries.centres, queries.texts, strict=True):
                    axes.text(-8 / geometry.wide, geometry.top(row) + centre, text, **look)
        if keys:
            look = style(keys.size, ha="center", va="top", rotation=0 if keys.horizontal else 90)
            for column in range(len(panels[0])):
                last = max(row for row, line in enumerate(panels) if column < len(line) and line[column])
                bottom = geometry.top(last) + geometry.rows + 8 / geometry.tall
                for centre, text in zip(keys.centres, keys.texts, strict=True):
                    axes.text(geometry.left(column) + centre, bottom, text, **look)

    def draw_lines(self, axes: Axes, attention: Attention) -> None:
        geometry, parts = self.geometry, _segments(attention, self.geometry)
        for row, line in enumerate(self.content.panels):
            for column, panel in enumerate(line):
                if panel is not None:
                    corner, size = (geometry.top(row), geometry.left(column)), (geometry.rows, geometry.columns)
                    draw_part_lines(axes, parts, corner, size)
                    if begins_light():
                        draw_frame(axes, corner, size)
