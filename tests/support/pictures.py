"""Made-up attention and statistics for pictures, and the texts, images and faults of a drawn figure."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from attncli.data import Attention, Kind, LayerMaps, Scores, Statistics, Tokens
from attncli.plotting.text import GLYPH_WARNING

WORDS = ["the", "animal", "did", "not", "cross", "a", "wide", "street", "because", "it", "was", "far", "too", "tired"]


def tokens(count: int) -> Tokens:
    return Tokens.plain([WORDS[n % len(WORDS)] for n in range(count)])


def attention(
    queries: Tokens | int,
    keys: Tokens | int | None = None,
    *,
    heads: Sequence[int] = (1,),
    kind: Kind = "encoder",
    causal: bool = False,
) -> Attention:
    """Return random rows that sum to 1; `heads` are the numbers of heads of the layers."""
    rows = tokens(queries) if isinstance(queries, int) else queries
    columns = rows if keys is None else tokens(keys) if isinstance(keys, int) else keys
    rng = np.random.default_rng(0)
    visible = np.tril(np.ones((1, len(rows), len(columns)), bool)) if causal else None
    layers = []
    for layer, count in enumerate(heads):
        weights = rng.dirichlet(np.full(len(columns), 0.3), (count, len(rows)))
        if visible is not None:
            weights = np.where(visible, weights, 0)
            weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-9)
        layers.append(LayerMaps(layer, tuple(range(count)), weights, visible))
    return Attention(kind, rows, columns, tuple(layers))


def one_map(weights: Any, visible: Any = None) -> Attention:
    """Return the map of one head from its weights."""
    array = np.asarray(weights, np.float32)
    seen = None if visible is None else np.asarray(visible)[None]
    rows, columns = (tokens(n) for n in array.shape)
    return Attention("encoder", rows, columns, (LayerMaps(3, (5,), array[None], seen),))


def statistics(places: Iterable[tuple[Kind, int, int]], **metrics: Any) -> Statistics:
    """Return one value per (kind, layer, head) for each metric, given as values or as (values, unit, range)."""
    kinds, layers, heads = zip(*places, strict=True)
    coords = {
        "kind": ("head", np.array(kinds)),
        "layer": ("head", np.array(layers)),
        "head": ("head", np.array(heads)),
    }
    made = {}
    for name, given in metrics.items():
        values, unit, ends = given if isinstance(given, tuple) else (given, "1", (0.0, 1.0))
        made[name] = Scores(name, np.asarray(values, float), ("head",), coords, unit, ends, "made up")
    return Statistics(made)


_laid_out: WeakSet[Figure] = WeakSet()
"""Figures whose texts have their final places: a test that asks twice needs no second drawing."""


def shown(figure: Figure) -> list[Text]:
    """Return every visible text; a tick beyond the end of its axis is not visible."""
    if figure not in _laid_out:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", GLYPH_WARNING)
            figure.draw_without_rendering()
        _laid_out.add(figure)
    beyond = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = (*axis.get_major_ticks(), *axis.get_minor_ticks())
        outer = [tick for tick in ticks if not low <= tick.get_loc() <= high]
        beyond |= {label for tick in outer for label in (tick.label1, tick.label2)}
    texts = (text for text in figure.findobj(Text) if text.get_visible() and text not in beyond)
    return [text for text in texts if text.get_text().strip()]


def words(figure: Figure) -> set[str]:
    """Return the texts of the picture."""
    return {text.get_text() for text in shown(figure)}


def faults(figure: Figure) -> list[str]:
    """Return the texts that overlap by more than a pixel, and those that the edge of the page cuts."""
    canvas: Any = FigureCanvasAgg(figure)  # untyped in matplotlib
    renderer = canvas.get_renderer()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLYPH_WARNING)
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown(figure)]
    corners = np.array([box.extents for _, box in boxes]).reshape(-1, 4)
    low, high = corners[:, None, :2], corners[:, None, 2:]
    sides = np.minimum(high, high.swapaxes(0, 1)) - np.maximum(low, low.swapaxes(0, 1))
    pairs = np.argwhere(np.triu((sides > 1).all(-1), 1))
    overlaps = [f"{boxes[a][0]!r} overlaps {boxes[b][0]!r}" for a, b in pairs]
    width, height = figure.bbox.width, figure.bbox.height
    cut = (box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height for _, box in boxes)
    return overlaps + [f"{text!r} is cut" for (text, _), is_cut in zip(boxes, cut, strict=True) if is_cut]


def weights_image(figure: Figure) -> AxesImage:
    """Return the image of the weights: the one with a colour scale."""
    axes = figure.axes[0]
    return next(image for image in axes.images if np.ma.asarray(image.get_array()).ndim == 2)


def is_log(figure: Figure) -> bool:
    return isinstance(weights_image(figure).norm, LogNorm)
