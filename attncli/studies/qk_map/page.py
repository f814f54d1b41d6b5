"""The content of the page of `qk-map`: all maps of a result, with the sentences of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from attncli.data import Input, Kind, RunInfo
from attncli.page import HeadQuality, KindPoints, LayerPoints, QkPageContent, QualityNumber, qk_page_html
from attncli.studies.qk_map.head_maps import METHODS, NEAREST, TYPES, HeadMaps
from attncli.studies.qk_map.options import QueryKeyMapOptions

NUMBER_NAMES = {
    "correlation": "rank correlation of weight and nearness",
    "top_near": f"strongest key among the {NEAREST} nearest",
}
"""Names of the numbers that say how true a map is; each has others of all dimensions, and by chance."""


def html_page(
    info: RunInfo, inputs: Sequence[Input], groups: Mapping[Kind, HeadMaps], options: QueryKeyMapOptions
) -> str:
    """Return the page of the maps of all kinds of attention as one HTML document."""
    kinds = [_kind_points(kind, group) for kind, group in groups.items()]
    return qk_page_html(QkPageContent(info, inputs, kinds, TYPES, METHODS[options.method], options.color))


def _kind_points(kind: Kind, group: HeadMaps) -> KindPoints:
    tokens = group.tokens
    return KindPoints(kind, tokens.queries, tokens.text, tokens.position, tokens.type, [*_layers(group)])


def _layers(group: HeadMaps) -> Iterator[LayerPoints]:
    """Yield the maps of each layer."""
    for layer in np.unique(group.layers).tolist():
        rows = np.flatnonzero(group.layers == layer)
        arrays = (group.points[rows], group.norms[rows], group.strongest[rows], group.weights[rows])
        yield LayerPoints(layer, [_quality(group, int(row)) for row in rows], *arrays)


def _quality(group: HeadMaps, row: int) -> HeadQuality:
    numbers = tuple(_number(group, row, name, shown) for name, shown in NUMBER_NAMES.items())
    words = group.in_words(row)
    true = group.verdicts[row] in ("good", "fair")
    return HeadQuality(int(group.heads[row]), true, f"{words[0].upper()}{words[1:]}.", numbers)


def _number(group: HeadMaps, row: int, name: str, shown: str) -> QualityNumber:
    """Return a number of the map of a head, beside those of all dimensions and of random points."""
    values = (float(group.quality[of][row]) for of in (name, f"{name}_all_dimensions", f"{name}_random"))
    return QualityNumber(shown, *values)
