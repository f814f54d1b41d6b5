"""Made content of the page of queries and keys: two layers of two heads, whose points, norms and weights are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Array, Input, RunInfo, Text, Tokens
from attncli.page import HeadQuality, KindPoints, LayerPoints, QkPageContent, QualityNumber

if TYPE_CHECKING:
    from playwright.sync_api import Page

PER_ROW = 3
MARGIN = 24
"""Pixels around the points of a map that is not zoomed."""
TEXTS = (["[CLS]", "The", "animal", "was", "tired", ",", "42", "[SEP]"], ["[CLS]", "the", "street", "[SEP]"])
GOOD, POOR = "Near means attended.", "Near does not mean attended here."


def made_content(texts: Sequence[Sequence[str]] = TEXTS, special: Sequence[str] = ("[CLS]", "[SEP]")) -> QkPageContent:
    """Every token is a query and a key; head 0.1 is poor, in head 1.1 everything is at one place."""
    random = np.random.default_rng(0)
    inputs = [_input(index, pieces, special) for index, pieces in enumerate(texts)]
    places = np.array([(text, position) for text, pieces in enumerate(texts) for position in range(len(pieces))])
    count = len(places)
    lengths = np.array([len(texts[text]) for text, _ in places])
    layers = []
    for layer in range(2):
        grid = np.stack(np.divmod(np.arange(2 * count), 7), -1)
        points = np.array([random.permutation(grid) for _ in range(2)])
        if layer:
            points[1] = 5
        weights = np.sort(random.dirichlet(np.ones(PER_ROW + 1), (2, count)), -1)[..., :0:-1]
        keys = np.array([[random.permutation(length)[:PER_ROW] for length in lengths] for _ in range(2)])
        heads = [_quality(head, poor=layer == 0 and head == 1) for head in range(2)]
        norms = random.uniform(1, 9, (2, 2 * count))
        layers.append(LayerPoints(layer, heads, points.astype(np.float32), norms, keys, weights))
    both = np.concatenate([places, places])
    pieces = [texts[text][position] for text, position in both]
    types = np.array([1 if piece in special else 2 if not piece.isalnum() else 0 for piece in pieces])
    kind = KindPoints("encoder", count, both[:, 0], both[:, 1], types, layers)
    info = RunInfo("made/model", cls="Made", dtype="float32", notes=("a note of the run",))
    return QkPageContent(info, inputs, [kind], ["word", "special", "punctuation"], "PCA")


def some_points(kind: KindPoints, points: Array, queries: Array) -> list[LayerPoints]:
    """Return the layers of a kind with these of its points; `queries` are those of them that are queries."""
    return [
        replace(
            layer,
            points=layer.points[:, points],
            norms=layer.norms[:, points],
            keys=layer.keys[:, queries],
            weights=layer.weights[:, queries],
        )
        for layer in kind.layers
    ]


def _input(index: int, pieces: Sequence[str], special: Sequence[str]) -> Input:
    n = len(pieces)
    is_special = np.array([piece in special for piece in pieces])
    tokens = Tokens(tuple(pieces), np.arange(n), is_special, np.full((n, 2), -1), np.arange(n), ("",) * n)
    return Input(index, Text(" ".join(pieces)), tokens)


def _quality(head: int, poor: bool) -> HeadQuality:
    numbers = (QualityNumber("rank correlation", 0.5, 0.75, 0.0), QualityNumber("top key near", 0.25, None, 0.125))
    return HeadQuality(head, not poor, POOR if poor else GOOD, numbers)


def place(page: Page, content: QkPageContent, point: int, zoomed: float = 1, head: int = 0) -> tuple[float, float]:
    """Return where a point of layer 0 is in the window, if the map is zoomed around its middle."""
    points = content.kinds[0].layers[0].points[head]
    low, high = points.min(0), points.max(0)
    box = page.locator("canvas[role=application]").bounding_box()
    assert box is not None
    scale = zoomed * (min(box["width"], box["height"]) / 2 - MARGIN) / ((high - low).max() / 2)
    x, y = ((points[point] - (low + high) / 2) * scale).tolist()
    return box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2 - y
