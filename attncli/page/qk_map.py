"""The page of `attncli qk-map`: its content as `web/qk-map.schema.json` defines it, put into the empty page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array, Input, RunInfo, Tokens
from attncli.page.blobs import VECTOR_CODES, Blobs, encode_shares
from attncli.page.filled import filled_page, text_name
from attncli.page.sides import side_document
from attncli.paths import without_folders

SCHEMA = "attncli.qk-map-page/1"
NORM_CODES = 65535
"""Largest code of a norm."""
MOST_SHORT_KEYS = 65536
"""Largest number of keys whose positions have two bytes."""
Plain = dict[str, Any]


@dataclass(frozen=True)
class QualityNumber:
    """One number of how true a map is: in the map, in the full space, by chance; None where undefined."""

    name: str
    map: float | None
    full: float | None
    chance: float | None


@dataclass(frozen=True)
class HeadQuality:
    """How true the map of a head is: a verdict in words, whether it is good, and the numbers."""

    head: int
    true: bool
    verdict: str
    numbers: tuple[QualityNumber, ...]


@dataclass(frozen=True, eq=False)
class LayerPoints:
    """The maps of the heads of one layer.

    heads    [head] quality of each map
    points   [head, point, 2] coordinates
    norms    [head, point] norms of the vectors
    keys     [head, query, rank] positions of the strongest keys in the text of the query; any where the weight is 0
    weights  [head, query, rank] their attention weights, largest first; 0 for none
    """

    layer: int
    heads: Sequence[HeadQuality]
    points: Array
    norms: Array
    keys: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class KindPoints:
    """The maps of all heads of one kind of attention, whose points are the same tokens: first queries, then keys.

    queries    number of points that are queries
    texts      [point] index of the input of each point
    positions  [point] position of each token on its side of the text
    types      [point] index of the type of each token
    """

    kind: str
    queries: int
    texts: Array
    positions: Array
    types: Array
    layers: Sequence[LayerPoints]


@dataclass(frozen=True, eq=False)
class QkPageContent:
    """Everything that the page shows.

    types   names of the types of tokens
    method  how the maps are made, such as `t-SNE`
    color   what colours show when the page opens: side, position, type, norm or text
    """

    info: RunInfo
    inputs: Sequence[Input]
    kinds: Sequence[KindPoints]
    types: Sequence[str]
    method: str
    color: str = "side"


def qk_page_html(content: QkPageContent) -> str:
    """Return the page as one document that needs no other file."""
    document, blobs = qk_payload(content)
    return filled_page("qk-map", content.info.title, document, blobs)


def qk_payload(content: QkPageContent) -> tuple[Plain, list[bytes]]:
    """Return the document and the compressed binary parts."""
    writer, info = _Writer(content.inputs), content.info
    model = without_folders(info.model)
    kinds = [writer.kind(points) for points in content.kinds]
    document = {
        "schema": SCHEMA,
        "title": info.title,
        "about": [model, *filter(None, (info.cls, info.dtype))],
        "notes": [note.replace(info.model, model) for note in info.notes],
        "method": content.method,
        "color": content.color,
        "token_types": list(content.types),
        "sides": writer.sides,
        "kinds": kinds,
    }
    return document, writer.blobs.compressed


class _Writer:
    """The token lists and the binary parts of a document, which refers to them by number."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self.blobs = Blobs()
        self.sides: list[Plain] = []
        self._inputs = {source.index: source for source in inputs}
        self._numbers: dict[int, int] = {}

    def kind(self, points: KindPoints) -> Plain:
        """Return the maps of one kind; texts without points are left out."""
        shown = np.unique(points.texts)
        texts = [self._inputs[int(index)] for index in shown]
        sides = [source.sides(points.kind) for source in texts]
        places = np.searchsorted(shown, points.texts)
        wide = max(len(keys) for _, keys in sides) > MOST_SHORT_KEYS
        named = [
            {"index": source.index, "name": text_name(source), "queries": self._side(queries), "keys": self._side(keys)}
            for source, (queries, keys) in zip(texts, sides, strict=True)
        ]
        return {
            "kind": points.kind,
            "texts": named,
            "queries": points.queries,
            "keys": len(points.texts) - points.queries,
            "table": self.blobs.add([column.astype(np.uint32) for column in (places, points.positions, points.types)]),
            "per_row": points.layers[0].keys.shape[-1],
            "layers": [self._layer(layer, np.uint32 if wide else np.uint16) for layer in points.layers],
        }

    def _side(self, tokens: Tokens) -> int:
        """Return the number of the token list of one text."""
        if id(tokens) not in self._numbers:  # the inputs keep the tokens alive
            self._numbers[id(tokens)] = len(self.sides)
            self.sides.append(_token_list(tokens))
        return self._numbers[id(tokens)]

    def _layer(self, layer: LayerPoints, position: type[np.unsignedinteger[Any]]) -> Plain:
        """Return the maps of one layer."""
        largest = layer.weights.max(-1, initial=0).astype(np.float32)
        codes = encode_shares(layer.weights, largest[..., None])
        return {
            "layer": layer.layer,
            "heads": [_quality(head) for head in layer.heads],
            "points": self.blobs.add(encode_points(layer.points)),
            "norms": self.blobs.add(encode_norms(layer.norms)),
            "strongest": self.blobs.add([largest, layer.keys.clip(0).astype(position), codes]),
        }


def _token_list(tokens: Tokens) -> Plain:
    """Return the `TokenList` of the schema."""
    side = side_document(tokens)
    texts = ("labels", "cells", "before", "surface", "after")
    return {name: side[name] for name in texts}


def _quality(quality: HeadQuality) -> Plain:
    numbers = [{name: _defined(value) for name, value in vars(number).items()} for number in quality.numbers]
    return {"head": quality.head, "true": quality.true, "verdict": quality.verdict, "numbers": numbers}


def _defined(value: str | float | None) -> str | float | None:
    """Return the value; None for NaN."""
    return None if isinstance(value, float) and np.isnan(value) else value


def encode_points(points: Array) -> tuple[Array, Array]:
    """Return points [head, point, 2] as frames [head, 3] float32 (centre and half of the larger side) and codes int16.

    `coordinate ≈ centre + code / 32767 · half`.
    """
    low, high = points.min(1), points.max(1)
    centre = (low + high) / 2
    half = ((high - low) / 2).max(-1)
    factor = np.divide(VECTOR_CODES, half, out=np.zeros(half.shape), where=half > 0)
    codes = np.rint((points - centre[:, None]) * factor[:, None, None]).astype(np.int16)
    return np.concatenate([centre, half[:, None]], 1).astype(np.float32), codes


def encode_norms(norms: Array) -> tuple[Array, Array]:
    """Return norms [head, point] as the largest of each head, float32, and codes uint16: code / 65535 · largest."""
    largest = norms.max(-1, initial=0).astype(np.float32)
    factor = np.divide(NORM_CODES, largest, out=np.zeros(largest.shape), where=largest > 0)
    return largest, np.rint(norms * factor[:, None]).clip(0, NORM_CODES).astype(np.uint16)
