"""The page: its content as `web/page.schema.json` defines it, put into the empty page that is built from `web/`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attncli.data import Attention, Input, LayerMaps, RunInfo, Tokens, Vectors
from attncli.page.attributions import PageAttribution
from attncli.page.blobs import Blobs, encode_vectors, encode_weights
from attncli.page.edges import EdgeTable, LayerId
from attncli.page.filled import filled_page, text_name
from attncli.page.opening import opening_head
from attncli.page.sides import side_document
from attncli.paths import without_folders

SCHEMA = "attncli.page/1"
_MAP_OPTIONS = ("aggregate", "aggregate_layers", "words", "dropped_special")
Plain = dict[str, Any]
"""A value of the document that JSON can store."""


@dataclass(frozen=True, eq=False)
class PageContent:
    """Everything that the page shows.

    maps     full maps, or pooled ones with their strongest weights in `edges`; pooled ones can have their mean and
             their maximum over heads beside them
    vectors  query and key vectors; then `maps` must be of single heads and of all tokens
    stats    `metrics` and `heads` of stats.json; None if nothing could be measured
    notes    notes for the reader, after those of the run
    neurons  the command that adds vectors; empty if there are vectors
    attribution  how much the tokens of a text count for a prediction, if that was computed
    """

    info: RunInfo
    inputs: Sequence[Input]
    maps: Sequence[Attention]
    edges: Mapping[LayerId, EdgeTable] = field(default_factory=dict)
    vectors: Sequence[Vectors] = ()
    stats: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    neurons: str = ""
    attribution: PageAttribution | None = None


def build_payload(content: PageContent) -> tuple[Plain, list[bytes]]:
    """Return the document and the compressed binary parts; equal token lists and binary parts are stored once."""
    writer = _Writer(Blobs(), content.edges)
    info, names = content.info, {source.index: text_name(source) for source in content.inputs}
    maps = [writer.map(attention, names[attention.text]) for attention in content.maps]
    run = {name: getattr(info, name) for name in ("revision", "dtype", "device", "capture")}
    model = without_folders(info.model)
    document: Plain = {
        "schema": SCHEMA,
        "title": info.title,
        "run": {"model": model, **run, "class": info.cls, "versions": dict(info.versions)},
        "notes": [note.replace(info.model, model) for note in (*info.notes, *content.notes)],
        "neurons": content.neurons,
        "sides": writer.sides,
        "maps": maps,
        "start": opening_head(content.maps[0]),
        "stats": None if content.stats is None else {name: content.stats[name] for name in ("metrics", "heads")},
        "vectors": [*writer.vectors(content.vectors, content.maps)],
        "attribution": None if content.attribution is None else writer.attribution(content.attribution),
    }
    return document, writer.blobs.compressed


class _Writer:
    """The sides (lists of query or key tokens) and the binary parts of a document, which refers to them by number."""

    def __init__(self, blobs: Blobs, edges: Mapping[LayerId, EdgeTable]) -> None:
        self.blobs = blobs
        self.edges = edges
        self.sides: list[Plain] = []
        self._numbers: dict[str, int] = {}
        self._by_id: dict[tuple[int, bool], int] = {}
        self._alive: list[Tokens] = []  # keeps tokens alive, so that no others get the same id

    def map(self, attention: Attention, name: str) -> Plain:
        """Return the `Maps` of one text and kind."""
        cut = attention.window is not None
        return {
            "text": attention.text,
            "name": name,
            "kind": attention.kind,
            "queries": self._side(attention.queries, cut),
            "keys": self._side(attention.keys, cut),
            **{option: getattr(attention, option) for option in _MAP_OPTIONS},
            # the page names two ways to combine heads; a note says that the mean is weighted
            "aggregate": "mean" if attention.aggregate == "weighted" else attention.aggregate,
            "window": None if attention.window is None else [list(span) for span in attention.window],
            "form": "whole" if attention.pool == "none" else "strongest",
            "pool": attention.pool,
            "cell": list(attention.cell),
            "layers": [self._layer(attention, maps, attention.aggregate) for maps in attention.layers],
        }

    def _side(self, tokens: Tokens, cut: bool) -> int:
        """Return the number of the side with these tokens; `cut`: they are a part of their text."""
        if (id(tokens), cut) not in self._by_id:
            document = side_document(tokens, cut)
            number = self._numbers.setdefault(json.dumps(document), len(self.sides))
            if number == len(self.sides):
                self.sides.append(document)
            self._by_id[id(tokens), cut] = number
            self._alive.append(tokens)
        return self._by_id[id(tokens), cut]

    def _layer(self, attention: Attention, maps: LayerMaps, aggregate: str) -> Plain:
        """Return the maps of one layer, with a mask of one head if all heads have the same.

        `aggregate` is how heads are combined. Pooled maps have their combined heads too, where their edges are known.
        """
        pooled, of_layer = attention.pool != "none", (attention.text, attention.kind, maps.layer)
        edges = self.edges[*of_layer, aggregate] if pooled else None
        combined = {how: of_all for how, of_all in maps.combined.items() if pooled and (*of_layer, how) in self.edges}
        visible = maps.visible
        if visible is not None and len(visible) > 1 and (visible == visible[:1]).all():
            visible = visible[:1]
        return {
            "layer": maps.layer,
            "heads": list(maps.heads),
            "weights": self.blobs.add(encode_weights(maps.weights)),
            "visible": None if visible is None or visible.all() else self.blobs.add([np.packbits(visible)]),
            "edges": None if edges is None else self.blobs.add([edges.scale, edges.keys, edges.codes]),
            "per_row": 0 if edges is None else edges.per_row,
            "combined": {how: self._layer(attention, of_all, how) for how, of_all in combined.items()},
        }

    def attribution(self, attribution: PageAttribution) -> Plain:
        """Return the `Attribution` of a text, whose tokens are those of its maps."""
        sides = {name: self._side(tokens, cut=False) for name, tokens in attribution.sides.items()}
        return attribution.document(sides, self.blobs.add([attribution.shares.astype(np.float32)]))

    def vectors(self, vectors: Sequence[Vectors], maps: Sequence[Attention]) -> Iterator[Plain]:
        """Yield the `Vectors` of each layer, for the heads and tokens of these maps."""
        shown = {
            (attention.text, attention.kind, layer.layer): (layer.heads, attention)
            for attention in maps
            for layer in attention.layers
        }
        for layer_vectors in vectors:
            key = (layer_vectors.text, layer_vectors.kind, layer_vectors.layer)
            map_heads, attention = shown.get(key, ((), None))
            heads = [head for head in map_heads if head in layer_vectors.heads]
            if attention is not None and heads:
                yield self._vectors(layer_vectors, heads, attention)

    def _vectors(self, layer_vectors: Vectors, heads: Sequence[int], attention: Attention) -> Plain:
        rows = [layer_vectors.heads.index(head) for head in heads]
        key_heads = [layer_vectors.key_heads[row] for row in rows]
        shared = sorted(set(key_heads))
        queries, keys = (slice(side.first, side.last + 1) for side in attention.sides)
        return {
            **{name: getattr(layer_vectors, name) for name in ("text", "kind", "layer", "scale", "softcap", "bias")},
            "heads": list(heads),
            "key_heads": [shared.index(number) for number in key_heads],
            "dim": layer_vectors.query.shape[-1],
            "query": self.blobs.add(encode_vectors(layer_vectors.query[rows, queries])),
            "key": self.blobs.add(encode_vectors(layer_vectors.key[shared, keys])),
            "normalizer": self.blobs.add([layer_vectors.normalizer[rows, queries]]),
        }


def page_html(content: PageContent, template: str | None = None) -> str:
    """Return the page as one document that needs no other file; `template` replaces the page of the package."""
    return filled_page("page", content.info.title, *build_payload(content), template=template)
