"""Panels of several studies: a page of panels, heads as rows, and a share beside its ratio to uniform attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from attncli.data import Array, Kind
from attncli.plotting.axis import KIND_WORDS, TICK_STYLE, join_parts
from attncli.plotting.cells import COLOURS, DIVERGING, GAP, Cells, draw_cells
from attncli.plotting.layout import EDGE, FigureLayout, Header
from attncli.plotting.text import SMALL, SUBTITLE, style

_TALLEST_ROW, _FLATTEST_ROW, _PAGE_HEIGHT = 22, 2, 900  # pixels, like the others
_LAYER_GAP = 5
_LABEL_HEIGHT = 14


@dataclass(frozen=True)
class PanelSize:
    """The pixels of one panel of a page and of the space around it."""

    width: float
    height: float
    left: int
    above: int
    below: int
    right: int


def panel_page(
    title: str, lines: Sequence[str], counts: Mapping[Kind, int], size: PanelSize, below: int = 0
) -> tuple[FigureLayout, dict[Kind, list[tuple[float, float]]]]:
    """Return a page of equal panels in rows of at most four, and for each kind the top left corners of its panels.

    Each kind has a heading above its panels, or in the title if it is the only one; `counts` are the panels of each
    kind, `below` are pixels below the last row, for a legend.
    """
    several = len(counts) > 1
    heading = 36 if several else 0
    header = Header.of(title if several else join_parts(KIND_WORDS[next(iter(counts))], title), *lines)
    columns = min(4, max(counts.values()))
    across, down = size.left + size.width + size.right, size.above + size.height + size.below
    rows = sum(-(-count // columns) for count in counts.values())
    height = header.height + len(counts) * heading + rows * down + below
    page = FigureLayout.blank(2 * EDGE + columns * across, height, header)
    top: float = header.height
    corners = {}
    for kind, count in counts.items():
        if several:
            page.write(EDGE, top, KIND_WORDS[kind], 9.5, weight="bold")
        top += heading
        corners[kind] = [
            (EDGE + n % columns * across + size.left, top + n // columns * down + size.above) for n in range(count)
        ]
        top += -(-count // columns) * down
    return page, corners


@dataclass(frozen=True, eq=False)
class HeadRows:
    """Heads, or combined layers, as the rows of a picture: layer by layer from the top, with gaps between layers.

    layers, heads  [head] numbers of the layer and of the head
    tall           height of a row in pixels
    rows           [head] row of each head; gaps between layers are rows too
    combined       whether a row is a whole layer
    """

    layers: Array
    heads: Array
    tall: int
    rows: Array
    combined: bool = False

    @classmethod
    def of(cls, layers: Array, heads: Array, combined: bool = False) -> HeadRows:
        """Return the rows of heads, which are sorted by layer; rows are as tall as the page allows."""
        tall = max(_FLATTEST_ROW, min(_TALLEST_ROW, _PAGE_HEIGHT // len(layers)))
        gap = 0 if combined else max(1, round(_LAYER_GAP / tall))
        new_layer = np.concatenate([[False], layers[1:] != layers[:-1]])
        return cls(layers, heads, tall, np.arange(len(layers)) + gap * np.cumsum(new_layer), combined)

    @property
    def height(self) -> int:
        """The pixels of all rows together."""
        return self.tall * (int(self.rows[-1]) + 1)

    def cells(self, cells: Cells) -> Cells:
        """Return cells [head, column] as cells [row, column], with gaps between layers."""
        shape = (int(self.rows[-1]) + 1, cells.state.shape[1])
        spaced = Cells(np.zeros(shape, np.float32), np.full(shape, GAP, np.uint8))
        spaced.weights[self.rows], spaced.state[self.rows] = cells.weights, cells.state
        return spaced

    def write_labels(self, axes: Axes) -> None:
        """Label each row as layer.head if rows are tall enough, else label the layers."""
        axes.tick_params(axis="y", **TICK_STYLE)
        if self.tall >= _LABEL_HEIGHT and not self.combined:
            rows, title = self.rows, "layer.head"
            texts = [f"{layer}.{head}" for layer, head in zip(self.layers, self.heads, strict=True)]
        else:
            numbers = list(dict.fromkeys(self.layers.tolist()))
            numbers = numbers[:: math.ceil(_LABEL_HEIGHT * len(numbers) / self.height)]
            rows = np.array([self.rows[self.layers == number].mean() for number in numbers])
            texts, title = list(map(str, numbers)), "layer" if self.combined else "layer (a row per head)"
        axes.set_yticks(rows + 0.5, labels=texts, **style(SMALL))
        axes.set_ylabel(title, **style(SUBTITLE))


@dataclass(frozen=True, eq=False)
class RatioPanel:
    """One of the two panels; `unit` labels its colour bar, `extend` is `both` if values may lie beyond its ends."""

    title: str
    cells: Cells
    norm: Normalize
    colours: str
    unit: str
    extend: str

    def draw(self, page: FigureLayout, axes: Axes) -> AxesImage:
        """Draw the panel with its title and its colour bar, and return its image."""
        image = draw_cells(axes, self.cells, self.norm, self.colours)
        page.colour_bar(axes, image, self.unit, self.extend)
        axes.set_title(self.title, **style(SUBTITLE, loc="left", pad=9))
        return image


def ratio_panels(
    mass: Array, ratio: Array, state: Array, reach: int, arrange: Callable[[Cells], Cells] = lambda cells: cells
) -> Iterator[RatioPanel]:
    """Yield the panel of `mass`, then the panel of log₂ `ratio` with colours from -`reach` to `reach`.

    Arrays are [row, column]; `state` is the state of each cell. `arrange` puts the cells into the rows of the picture.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.clip(np.log2(ratio), -99, 99)
    cells = [arrange(Cells(np.nan_to_num(values).astype(np.float32), state)) for values in (mass, log_ratio)]
    scale = Normalize(0, float(np.nanmax(mass)) or 1.0)
    yield RatioPanel("share of the attention", cells[0], scale, COLOURS, "fraction", "neither")
    scale, unit = Normalize(-reach, reach), "log₂ (share / uniform share)"
    yield RatioPanel("relative to uniform attention", cells[1], scale, DIVERGING, unit, "both")
