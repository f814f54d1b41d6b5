"""The maps of all heads of one kind of attention: points, the tokens that they stand for, and how true each map is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from attncli.data.described import Described, counted
from attncli.data.tokens import Array, Kind

SIDES = ("query", "key")
TYPES = ("word", "piece", "punctuation", "special")
"""What a token is: the first piece of a word, a later piece, no letter and no digit, or a special token."""
STRONGEST = 8
"""Number of keys that are kept of the row of each sampled query."""
NEAREST = 10
"""Number of near keys among which the strongest key of a query is looked for."""
METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
GOOD, FAIR = 0.5, 0.3
"""Least rank correlations of a good and of a fair map."""
LEAST_PAIRS = 50
"""Least number of pairs of a query and a key that say how true a map is."""
VERDICTS = {
    "good": "near means attended",
    "fair": "near means attended in part: check a pair before you believe it",
    "poor": "near says little about attention",
    "none": "near says nothing about attention: random points are as good",
    "unknown": f"nothing says how true it is, as there are fewer than {LEAST_PAIRS} pairs, or all are alike",
}
"""What a map is worth, in words."""


@dataclass(frozen=True, eq=False, repr=False)
class MapTokens(Described):
    """The sampled tokens of one kind of attention, the same for all its heads: first the queries, then the keys.

    Both sides are ordered by text and position.

    text      [point] index of the text
    position  [point] position in the text
    token     [point] text of the token as written
    type      [point] index into `TYPES`
    queries   number of queries
    """

    text: Array
    position: Array
    token: tuple[str, ...]
    type: Array
    queries: int

    def __len__(self) -> int:
        return len(self.token)

    @property
    def side(self) -> Array:
        """[point] index into `SIDES`: 0 for queries, 1 for keys."""
        return (np.arange(len(self)) >= self.queries).astype(np.int8)

    def _lines(self) -> Iterable[str]:
        yield f"MapTokens: {self.queries:,} queries and {len(self) - self.queries:,} keys"


@dataclass(frozen=True, eq=False, repr=False)
class HeadMaps(Described):
    """The maps of all heads of one kind of attention.

    tokens     the tokens that points stand for
    layers, heads  [head] number of the layer and of the head
    points     [head, point, 2] float32 coordinates; their unit has a meaning for pca only
    norms      [head, point] float32 ‖q‖ or ‖k‖, as the model computes with them
    vectors    for each head [point, dim] float32: queries and keys in one space, moved and scaled
    factors    [head] c: queries were divided by it, and keys multiplied
    strongest  [head, query, 8] positions of the strongest keys of the row of each query, -1 for none
    weights    [head, query, 8] float32 their attention weights
    quality    by name [head]: see `QUALITY`
    """

    tokens: MapTokens
    layers: Array
    heads: Array
    points: Array
    norms: Array
    vectors: tuple[Array, ...]
    factors: Array
    strongest: Array
    weights: Array
    quality: Mapping[str, Array]

    @property
    def names(self) -> list[str]:
        """The heads as `layer.head`."""
        return [f"{layer}.{head}" for layer, head in zip(self.layers.tolist(), self.heads.tolist(), strict=True)]

    @property
    def verdicts(self) -> list[str]:
        """What the map of each head is worth: a name of `VERDICTS`."""
        names = ("correlation", "correlation_random")
        return [verdict(*numbers) for numbers in zip(*(self.quality[name].tolist() for name in names), strict=True)]

    def in_words(self, row: int) -> str:
        """Return what the map of a head is worth, in a sentence."""
        name = self.verdicts[row]
        lost = self.quality["correlation_all_dimensions"][row] >= GOOD
        why = "; two dimensions lose it" if lost else "; its vectors do not show it in all dimensions either"
        known = {"none": "no map", "unknown": "unknown"}.get(name, f"a {name} map")
        return f"{known}: {VERDICTS[name]}{why if name in ('poor', 'none') else ''}"

    def _lines(self) -> Iterable[str]:
        yield f"HeadMaps: {counted(len(self.heads), 'head')} with {counted(len(self.tokens), 'vector')}"


def verdict(correlation: float, random: float) -> str:
    """Return what a map of this rank correlation is worth, a name of `VERDICTS`.

    >>> verdict(0.6, 0.02), verdict(0.2, 0.02), verdict(0.02, 0.04), verdict(float("nan"), 0.0)
    ('good', 'poor', 'none', 'unknown')
    """
    if np.isnan(correlation):
        return "unknown"
    if not correlation > random:
        return "none"
    return "good" if correlation >= GOOD else "fair" if correlation >= FAIR else "poor"


def point_columns(kind: Kind, group: HeadMaps, row: int) -> dict[str, Array]:
    """Return the points of one head as columns of a table."""
    tokens, count = group.tokens, len(group.tokens)
    return {
        "kind": np.full(count, kind, dtype=object),
        "layer": np.full(count, group.layers[row]),
        "head": np.full(count, group.heads[row]),
        "text": tokens.text,
        "position": tokens.position,
        "token": np.array([*tokens.token, None], dtype=object)[:-1],
        "side": np.array(SIDES, dtype=object)[tokens.side],
        "x": group.points[row, :, 0],
        "y": group.points[row, :, 1],
        "norm": group.norms[row],
    }
