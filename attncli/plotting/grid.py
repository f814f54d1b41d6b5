"""Many heads on one page: all layers x heads of a kind, or the heads of one layer and their mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attncli.data import Attention, By, LayerMaps, Zoom
from attncli.errors import UsageError
from attncli.plotting import mosaic as _mosaic
from attncli.plotting.axis import (
    KIND_WORDS,
    AxisTokens,
    axis_of,
    describe_processing,
    joined,
    layer_words,
    pooling,
    sides_of,
)
from attncli.plotting.cells import DRAWN, Cells, cells_of, legend, paint
from attncli.plotting.colour_scale import faint_note, norm_of, weight_label
from attncli.plotting.layout import BAR_ROOM, EDGE, FigureLayout, header_size
from attncli.plotting.marks import Parts, draw_lines, parts_of, segment_starts
from attncli.plotting.mosaic import Geometry, Panels, compose, own_scale, plan
from attncli.plotting.text import FAINT, SMALL, SUBTITLE, measure, style
from attncli.plotting.theme import own_style

READING = "in each panel: rows are query tokens (look from), columns are key tokens (looked at)"
_OWN, _OWN_LOG = "share of own maximum (fraction)", "share of own maximum (fraction, log scale)"
_CLOSE, _WITH_NAMES = (5, 5), (44, 14)
_SPARSEST = 4
_LINE = 26


@dataclass(frozen=True)
class _Content:
    """Panels in rows, with the names of rows and columns, or a name for each panel."""

    title: str
    panels: Panels
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    names: Sequence[Sequence[str]] = ()

    @property
    def gap(self) -> tuple[int, int]:
        """Pixels between panels, down and across."""
        return _WITH_NAMES if self.names else _CLOSE


@own_style
def draw(
    attention: Attention,
    *,
    model: str = "",
    note: str = "",
    log: bool = False,
    vmax: float | None = None,
    each: bool = False,
    title: str = "",
    names: Sequence[str] = (),
    reading: str = READING,
) -> Figure:
    """What do all these heads look like beside each other?

    Several layers: one row per layer, one column per head. One layer: its heads and, last, their mean. With `names`,
    which differ, all maps one after the other, each under its name, and `title` says what they are. Panels
    share one colour scale unless `each` gives every panel its own, as the picture then says. Panels of many
    tokens are pooled: a cell is its largest weight, so that single strong weights stay visible, or the mean where
    the maps are means already. `reading` says what rows and columns are, below the panels.
    """
    content = _content(attention, title, names)
    shown = _longest_sides(attention)
    panels = own_scale(content.panels) if each else content.panels
    size = (len(panels), max(map(len, panels)))
    geometry = _with_room_for_names(plan((len(shown[0]), len(shown[1])), size, content.gap), content)
    cells = compose(panels, geometry, attention.pool == "mean")
    norm, extend = norm_of(cells.drawn, 1.0 if each else vmax, log)

    details = joined(_details(attention, note, geometry, each), _faint(panels, norm, attention.by))
    lines = [line for line in (model, details) if line]
    labels = _margin_labels(attention, shown, geometry)
    layout = _Layout(content, geometry, labels, header_size(content.title, lines))
    page, axes = layout.page(cells)
    image = paint(axes, cells, norm)
    layout.write_names(axes)
    layout.write_tokens(axes)
    layout.draw_lines(axes, attention)
    page.header(content.title, lines)
    label = (_OWN_LOG if log else _OWN) if each else weight_label(attention, log, geometry.pool)
    page.bar_beside(axes, image, label, extend, apart=layout.spill)
    page.write(EDGE, page.height - 56, reading, SMALL, FAINT)
    page.legend(legend(cells.state), EDGE, page.height - 30)
    return page.figure


def panel_side(counts: Sequence[int]) -> int:
    """Pixels a side of the panels of a page on which each layer has so many maps."""
    if len(counts) > 1 and max(counts) > 1:
        return _mosaic.panel_side((len(counts), max(counts)))
    panels = len(counts) if len(counts) > 1 else counts[0] + (counts[0] > 1)
    return _mosaic.panel_side((math.ceil(panels / _across(panels)), _across(panels)))


def fit_to_pages(zoom: Zoom, pages: Iterable[Sequence[int]]) -> Zoom:
    """Return a zoom whose cells are no finer than the panels of some pages can show.

    pages  for each page, the number of maps of each layer
    """
    return zoom if zoom.resolution is None else replace(zoom, panel=max(map(panel_side, pages)))


def _content(attention: Attention, title: str, names: Sequence[str]) -> _Content:
    if not attention.layers or any(0 in maps.weights.shape for maps in attention.layers):
        raise UsageError("a grid needs at least one layer, one head, one query and one key token, got none")
    if names:
        cells = [each for maps in attention.layers for each in _named(attention, maps).values()]
        return _wrapped(joined(KIND_WORDS[attention.kind], title), dict(zip(names, cells, strict=True)))
    if len(attention.layers) == 1:
        return _heads_of_layer(attention)
    if all(len(maps.weights) == 1 for maps in attention.layers):
        return _map_per_layer(attention)
    return _layers_by_heads(attention)


def _layers_by_heads(attention: Attention) -> _Content:
    rows = [_named(attention, maps) for maps in attention.layers]
    heads = sorted({head for maps in attention.layers for head in maps.heads})
    return _Content(
        title=joined(KIND_WORDS[attention.kind], f"{len(rows)} layers x {len(heads)} heads"),
        panels=[[row.get(f"head {head}") for head in heads] for row in rows],
        rows=[str(maps.layer) for maps in attention.layers],
        columns=list(map(str, heads)),
    )


def _heads_of_layer(attention: Attention) -> _Content:
    maps = attention.layers[0]
    panels = _named(attention, maps)
    counted = f"{len(panels)} heads" if len(panels) > 1 else next(iter(panels))
    if len(maps.heads) > 1:
        mean = attention.mean("head")
        panels |= _named(mean, mean.layers[0])
        counted += " and their mean"
    return _wrapped(joined(KIND_WORDS[attention.kind], layer_words(maps), counted), panels)


def _map_per_layer(attention: Attention) -> _Content:
    named = [(layer_words(maps), *_named(attention, maps).popitem()) for maps in attention.layers]
    kinds = {name for _, name, _ in named}
    same = kinds.pop() if len(kinds) == 1 else ""
    panels = {layer if same else f"{layer} · {name}": cells for layer, name, cells in named}
    return _wrapped(joined(KIND_WORDS[attention.kind], f"{len(panels)} layers", same), panels)


def _wrapped(title: str, panels: Mapping[str, Cells]) -> _Content:
    names, across = list(panels), _across(len(panels))
    lines = [names[n : n + across] for n in range(0, len(names), across)]
    return _Content(title, panels=[[panels[name] for name in line] for line in lines], names=lines)


def _named(attention: Attention, maps: LayerMaps) -> dict[str, Cells]:
    cells = cells_of(maps)
    names = [f"head {head}" for head in maps.heads] or [f"{attention.aggregate} of heads"]
    return {name: Cells(*pair) for name, *pair in zip(names, cells.weights, cells.state, strict=True)}


def _across(panels: int) -> int:
    """Columns of a near square that leave few places empty: 5 for 13 panels, 4 for 8."""
    widths = range(int(np.ceil(panels**0.5)), int(np.ceil((2 * panels) ** 0.5)) + 1)
    return min(widths, key=lambda width: -panels % width)


def _with_room_for_names(geometry: Geometry, content: _Content) -> Geometry:
    """Panels further apart where they are narrower than what stands above them."""
    names = [name for line in content.names for name in line] or content.columns
    needed = measure(names, SUBTITLE)[0] + 8 - geometry.columns * geometry.wide
    across = max(geometry.gap[1], math.ceil(needed / geometry.wide))
    return replace(geometry, gap=(geometry.gap[0], across))


def _longest_sides(attention: Attention) -> tuple[list[str], list[str]]:
    sides = [sides_of(attention, maps) for maps in attention.layers]
    return max((queries for queries, _ in sides), key=len), max((keys for _, keys in sides), key=len)


def _details(attention: Attention, note: str, geometry: Geometry, each: bool) -> str:
    scale = "each panel has its own colour scale" if each else "all panels share one colour scale"
    segments = dict.fromkeys(name for _, name in segment_starts(attention.queries))
    lines = f"lines where segments begin: {', '.join(segments)}" if any(_lines(attention, geometry)) else ""
    return joined(*describe_processing(attention), note, scale, pooling(attention, *geometry.pool), lines)


def _lines(attention: Attention, geometry: Geometry) -> tuple[Parts, Parts]:
    """Where segments begin in each panel."""
    return parts_of(attention, (geometry.tall, geometry.wide), geometry.pool, segments_only=True)


def _faint(panels: Panels, norm: Normalize, by: By) -> str:
    drawn = [panel.drawn for line in panels for panel in line if panel]
    return faint_note(np.concatenate(drawn), norm, by)


def _margin_labels(
    attention: Attention, shown: tuple[list[str], list[str]], geometry: Geometry
) -> tuple[AxisTokens | None, AxisTokens | None]:
    """Labels for the panels at the margins: positions, or tokens where at least every fourth would get one."""
    sizes, counts = (geometry.tall, geometry.wide), (geometry.rows, geometry.columns)
    queries, keys = (
        axis_of(attention, axis, shown[axis], sizes[axis], geometry.pool[axis], positions=False) for axis in (0, 1)
    )
    return _dense(queries, counts[0] - 16 / sizes[0]), _dense(keys, counts[1] - keys.width / 2 / sizes[1])


def _dense(side: AxisTokens, last: float) -> AxisTokens | None:
    """The labels where they are enough to be of use; without positions that would stand past `last`, over the next."""
    if side.tokens:
        return side if side.step <= _SPARSEST else None
    count = sum(at <= last for at in side.at)
    return replace(side, at=side.at[:count], texts=side.texts[:count]) if count > 1 else None


@dataclass(frozen=True)
class _Layout:
    """Where panels, their names and the tokens stand."""

    content: _Content
    geometry: Geometry
    labels: tuple[AxisTokens | None, AxisTokens | None]
    header: tuple[float, float]

    def page(self, cells: Cells) -> tuple[FigureLayout, Axes]:
        """A page with room for everything, and axes over all panels."""
        rows, columns = cells.state.shape
        height, width = rows * self.geometry.tall, columns * self.geometry.wide
        queries, keys = self.labels
        left = EDGE + self._token_room(queries) + self._name_room()
        top = self.header[1] + (2 * _LINE if self.content.columns else _LINE)
        legend_room = 34 if (cells.state < DRAWN).any() else 6
        below = measure([], keys.size)[1] + 14 if keys and not keys.tokens else self._token_room(keys)
        bottom = max(top + height + below, self.header[1] + 300) + 64 + legend_room
        right = self.spill + BAR_ROOM
        page = FigureLayout.blank(
            max(left + width + right, self.header[0], 2 * EDGE + measure([READING], SMALL)[0]), bottom
        )
        return page, page.axes(left, top, width, height)

    @property
    def spill(self) -> float:
        """How far the widest name above a last panel reaches beyond it, in pixels."""
        full = max(map(len, self.content.panels))
        last = [names[-1] for names in self.content.names if len(names) == full]
        return max(0.0, measure(last, SUBTITLE)[0] - self.geometry.columns * self.geometry.wide) if last else 0.0

    def _token_room(self, side: AxisTokens | None) -> float:
        return side.width + 14 if side else 0

    def _name_room(self) -> float:
        return measure(self.content.rows, SUBTITLE)[0] + _LINE + 16 if self.content.rows else 0

    def write_names(self, axes: Axes) -> None:
        """Layer numbers on the left and head numbers on top, or a name above each panel."""
        at, content = self.geometry, self.content
        aside = -(self._token_room(self.labels[0]) + 10) / at.wide
        for row, name in enumerate(content.rows):
            look = style(SUBTITLE, ha="right", va="center")
            axes.text(aside, at.top(row) + at.rows / 2, name, **look)
        for column, name in enumerate(content.columns):
            look = style(SUBTITLE, ha="center", va="bottom")
            axes.text(at.left(column) + at.columns / 2, -6 / at.tall, name, **look)
        for row, names in enumerate(content.names):
            for column, name in enumerate(names):
                look = style(SUBTITLE, ha="left", va="bottom")
                axes.text(at.left(column), at.top(row) - 5 / at.tall, name, **look)
        if content.rows:
            down, across = len(content.rows), len(content.columns)
            middle = (at.top(down) - at.gap[0]) / 2, (at.left(across) - at.gap[1]) / 2
            aside -= (self._name_room() - 16) / at.wide
            axes.text(aside, middle[0], "layer", **style(SUBTITLE, rotation=90, ha="left", va="center"))
            axes.text(middle[1], -(6 + _LINE) / at.tall, "head", **style(SUBTITLE, ha="center", va="bottom"))

    def write_tokens(self, axes: Axes) -> None:
        """Queries beside the first panel of each row, keys below the last panel of each column."""
        at, (queries, keys) = self.geometry, self.labels
        panels = self.content.panels
        for row in range(len(panels) if queries else 0):
            assert queries
            look = style(queries.size, ha="right", va="center_baseline")
            for n, text in zip(queries.at, queries.texts, strict=True):
                axes.text(-8 / at.wide, at.top(row) + n, text, **look)
        for column in range(len(panels[0]) if keys else 0):
            assert keys
            last = max(row for row, line in enumerate(panels) if column < len(line) and line[column])
            look = style(keys.size, ha="center", va="top", rotation=0 if keys.flat else 90)
            for n, text in zip(keys.at, keys.texts, strict=True):
                axes.text(at.left(column) + n, at.top(last) + at.rows + 8 / at.tall, text, **look)

    def draw_lines(self, axes: Axes, attention: Attention) -> None:
        """In each panel of a long text, where its segments begin."""
        at, parts = self.geometry, _lines(attention, self.geometry)
        for row, line in enumerate(self.content.panels if any(parts) else ()):
            for column, panel in enumerate(line):
                if panel is not None:
                    draw_lines(axes, parts, (at.top(row), at.left(column)), (at.rows, at.columns))
