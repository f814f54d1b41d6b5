"""Heads as the rows of a picture: layer by layer from the top, with a small gap between layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from attncli.data import Array
from attncli.plotting.axis import TICK_STYLE
from attncli.plotting.cells import GAP, Cells
from attncli.plotting.text import SMALL, SUBTITLE, style

_TALLEST_ROW, _FLATTEST_ROW, _PAGE_HEIGHT = 22, 2, 900  # pixels, like the others
_LAYER_GAP = 5
_LABEL_HEIGHT = 14


@dataclass(frozen=True, eq=False)
class HeadRows:
    """The rows of a picture that shows one head, or one combined layer, in each.

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
