"""Heads as the rows of a picture: layer by layer from the top, with a little room between layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from attncli.data import Array
from attncli.plotting.cells import GAP, Cells
from attncli.plotting.text import SMALL, SUBTITLE, style

_TALLEST, _FLATTEST, _HEIGHT = 22, 2, 900
_BETWEEN = 5
_READABLE = 14


@dataclass(frozen=True, eq=False)
class HeadRows:
    """Where each head stands: `at` is the row of each, `tall` the height of a row in pixels.

    combined  whether a row is a whole layer
    """

    layers: Array
    heads: Array
    tall: int
    at: Array
    combined: bool = False

    @classmethod
    def of(cls, layers: Array, heads: Array, combined: bool = False) -> HeadRows:
        """Heads in the order of layers; as high as the page allows."""
        tall = max(_FLATTEST, min(_TALLEST, _HEIGHT // len(layers)))
        gap = 0 if combined else max(1, round(_BETWEEN / tall))
        begins = np.concatenate([[False], layers[1:] != layers[:-1]])
        return cls(layers, heads, tall, np.arange(len(layers)) + gap * np.cumsum(begins), combined)

    @property
    def height(self) -> int:
        """Of all rows together, in pixels."""
        return self.tall * (int(self.at[-1]) + 1)

    def cells(self, cells: Cells) -> Cells:
        """Cells [head, column] in their rows."""
        shape = (int(self.at[-1]) + 1, cells.state.shape[1])
        whole = Cells(np.zeros(shape, np.float32), np.full(shape, GAP, np.uint8))
        whole.weights[self.at], whole.state[self.at] = cells.weights, cells.state
        return whole

    def put_labels(self, axes: Axes) -> None:
        """Layer and head of each row where there is room, else the layer of each group."""
        axes.tick_params(axis="y", length=3, width=0.6, pad=2, color="#666666")
        if self.tall >= _READABLE and not self.combined:
            at, texts = self.at, [f"{layer}.{head}" for layer, head in zip(self.layers, self.heads, strict=True)]
            title = "layer.head"
        else:
            numbers = list(dict.fromkeys(self.layers.tolist()))
            every = math.ceil(_READABLE * len(numbers) / self.height)
            at = np.array([self.at[self.layers == number].mean() for number in numbers[::every]])
            texts, title = (
                [str(number) for number in numbers[::every]],
                "layer" if self.combined else "layer (a row per head)",
            )
        axes.set_yticks(at + 0.5, labels=texts, **style(SMALL))
        axes.set_ylabel(title, **style(SUBTITLE))
