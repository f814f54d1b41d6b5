"""What the page holds: plain values as `web/page.schema.json` says, and the binary parts that they count."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attncli.data import Attention, Input, LayerMaps, RunInfo, Tokens, Vectors
from attncli.page.blobs import Blobs, bits, coded_vectors, coded_weights
from attncli.page.edges import EdgeTable, Place
from attncli.page.sides import side

SCHEMA = "attncli.page/1"
NAME = 80
"""Characters of a text that name it."""
Plain = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Content:
    """What is to be shown.

    maps     whole ones, or pooled ones whose strongest weights are in `edges`
    vectors  of these maps and their heads, which are of single heads and all tokens then
    stats    `metrics` and `heads` of stats.json; None where nothing could be measured
    notes    what a reader should know beside what the run says
    neurons  the command that would add vectors, empty where they are there
    """

    info: RunInfo
    inputs: Sequence[Input]
    maps: Sequence[Attention]
    edges: Mapping[Place, EdgeTable] = field(default_factory=dict)
    vectors: Sequence[Vectors] = ()
    stats: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    neurons: str = ""


@dataclass(frozen=True, eq=False)
class Payload:
    """A page without its looks: the document, and its binary parts, compressed."""

    document: Plain
    blobs: tuple[bytes, ...]


def payload(content: Content) -> Payload:
    """Everything that is to be shown, in as few bytes as may be."""
    writer = _Writer(Blobs())
    texts = {one.index: _name(one) for one in content.inputs}
    maps = [writer.map(attention, texts[attention.text], content.edges) for attention in content.maps]
    document: Plain = {
        "schema": SCHEMA,
        "title": content.info.title,
        "run": _run(content.info),
        "notes": [*content.info.notes, *content.notes],
        "neurons": content.neurons,
        "sides": writer.sides,
        "maps": maps,
        "stats": None if content.stats is None else _stats(content.stats),
        "vectors": [*writer.vectors(content.vectors, content.maps)],
    }
    return Payload(document, tuple(writer.blobs.compressed))


class _Writer:
    """Gives sides and binary parts their numbers; what is equal is held once."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.sides: list[Plain] = []
        self._numbers: dict[str, int] = {}
        self._known: dict[tuple[int, bool], int] = {}
        self._alive: list[Tokens] = []  # or else others could come to lie at the same place

    def map(self, attention: Attention, name: str, edges: Mapping[Place, EdgeTable]) -> Plain:
        """The `Maps` of one text and kind."""
        window = None if attention.window is None else [list(span) for span in attention.window]
        cut = window is not None
        return {
            "text": attention.text,
            "name": name,
            "kind": attention.kind,
            "queries": self._side(attention.queries, cut),
            "keys": self._side(attention.keys, cut),
            "aggregate": attention.aggregate,
            "aggregate_layers": attention.aggregate_layers,
            "words": attention.words,
            "dropped_special": attention.dropped_special,
            "window": window,
            "form": "whole" if attention.pool == "none" else "strongest",
            "pool": attention.pool,
            "cell": list(attention.cell),
            "layers": list(self._layers(attention, edges)),
        }

    def _side(self, tokens: Tokens, cut: bool) -> int:
        if (id(tokens), cut) not in self._known:
            made = side(tokens, cut)
            number = self._numbers.setdefault(json.dumps(made), len(self.sides))
            if number == len(self.sides):
                self.sides.append(made)
            self._known[id(tokens), cut] = number
            self._alive.append(tokens)
        return self._known[id(tokens), cut]

    def _layers(self, attention: Attention, edges: Mapping[Place, EdgeTable]) -> Iterator[Plain]:
        for maps in attention.layers:
            pooled = attention.pool != "none"
            yield self._layer(maps, edges[attention.text, attention.kind, maps.layer] if pooled else None)

    def _layer(self, maps: LayerMaps, edges: EdgeTable | None) -> Plain:
        visible = maps.visible
        if visible is not None and len(visible) > 1 and (visible == visible[:1]).all():
            visible = visible[:1]
        return {
            "layer": maps.layer,
            "heads": list(maps.heads),
            "weights": self.blobs.add(coded_weights(maps.weights)),
            "visible": None if visible is None or visible.all() else self.blobs.add([bits(visible)]),
            "edges": None if edges is None else self.blobs.add([edges.scale, edges.keys, edges.codes]),
            "per_row": 0 if edges is None else edges.per_row,
        }

    def vectors(self, vectors: Sequence[Vectors], maps: Sequence[Attention]) -> Iterator[Plain]:
        """The `Vectors` of the heads and tokens of these maps."""
        shown = {
            (attention.text, attention.kind, layer.layer): (layer.heads, attention)
            for attention in maps
            for layer in attention.layers
        }
        for one in vectors:
            heads, attention = shown.get((one.text, one.kind, one.layer), ((), None))
            if attention is not None and (chosen := [head for head in heads if head in one.heads]):
                yield self._vectors(one, chosen, attention)

    def _vectors(self, one: Vectors, heads: Sequence[int], attention: Attention) -> Plain:
        places = [one.heads.index(head) for head in heads]
        read = [one.key_heads[place] for place in places]
        shared = sorted(set(read))
        rows, keys = (slice(side.first, side.last + 1) for side in attention.sides)
        return {
            **{name: getattr(one, name) for name in ("text", "kind", "layer", "scale", "softcap", "bias")},
            "heads": list(heads),
            "key_heads": [shared.index(number) for number in read],
            "dim": one.query.shape[-1],
            "query": self.blobs.add(coded_vectors(one.query[places, rows])),
            "key": self.blobs.add(coded_vectors(one.key[shared, keys])),
            "normalizer": self.blobs.add([one.normalizer[places, rows]]),
        }


def _name(one: Input) -> str:
    """The beginning of a text, in one line."""
    text = " ".join(one.text.text.split()) or f"text {one.index}"
    return text if len(text) <= NAME else text[: NAME - 1] + "…"


def _run(info: RunInfo) -> Plain:
    names = ("model", "revision", "dtype", "device", "capture")
    said = {name: getattr(info, name) for name in names}
    return {**said, "class": info.cls, "versions": dict(info.versions)}


def _stats(found: Mapping[str, Any]) -> Plain:
    return {name: found[name] for name in ("metrics", "heads")}
