"""Conversion of runs to plain JSON values and named arrays, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attncli.data import Array, Attention, Input, LayerMaps, Scores, Statistics, Text, Tokens, Vectors
from attncli.data.results import STATISTICS_TABLES
from attncli.errors import UsageError
from attncli.store.arrays import ArrayPool
from attncli.store.possible import DamageError

AXES = ("layer", "head", "query", "key")
Plain = dict[str, Any]
"""A JSON object."""
# fields that a document has under the same name and unchanged, or as a list of numbers or texts
_TOKEN_ARRAYS = ("ids", "special", "offsets", "words")
_TOKEN_OPTIONS = ("merged", "gaps")
_MAP_OPTIONS = ("aggregate", "aggregate_layers", "words", "dropped_special")
_VECTOR_FIELDS = ("text", "kind", "layer", "scale", "softcap", "bias")
_VECTOR_ARRAYS = ("query", "key", "normalizer")
_STATISTICS_FIELDS = ("by", "pool_texts", "special", "rows_as")


def parse_layout(layout: str) -> tuple[str, ...]:
    """Return the axes of saved maps in their order on disk; without `layer` each layer is one array."""
    axes = tuple(part.strip() for part in layout.split(","))
    if sorted(axes) not in (sorted(AXES), sorted(AXES[1:])):
        raise UsageError(
            f"unknown layout '{layout}': expected head, query and key in some order, and layer if all layers "
            "share one array, such as layer,head,query,key or query,key,head"
        )
    return axes


class Encoder:
    """Converts the parts of a run to plain values.

    Arrays are collected in `pool` and tokens in `tokens`, so that shared ones are written once.
    """

    def __init__(self, axes: tuple[str, ...]) -> None:
        self.axes = axes
        self.pool = ArrayPool()
        self.tokens: list[Plain] = []
        self._token_numbers: dict[int, int] = {}

    def _tokens_number(self, tokens: Tokens) -> int:
        if id(tokens) not in self._token_numbers:
            self._token_numbers[id(tokens)] = len(self.tokens)
            arrays = {name: getattr(tokens, name).tolist() for name in _TOKEN_ARRAYS}
            texts: Plain = {"segments": list(tokens.segments), "text": tokens.text, "scheme": tokens.scheme}
            texts |= {name: list(getattr(tokens, name)) for name in _TOKEN_OPTIONS if getattr(tokens, name)}
            self.tokens.append({"pieces": list(tokens.pieces), **arrays, **texts})
        return self._token_numbers[id(tokens)]

    def input(self, one: Input) -> Plain:
        messages = [dict(message) for message in one.text.messages]
        text = {"text": one.text.text, "pair": one.text.pair, "target": one.text.target, "messages": messages}
        target = None if one.target is None else self._tokens_number(one.target)
        scaled = {kind: list(map(self._tokens_number, sides)) for kind, sides in one.scaled.items()}
        document = {"index": one.index, "text": text, "source": self._tokens_number(one.source), "target": target}
        return {**document, **({"scaled": scaled} if scaled else {})}

    def attention(self, attention: Attention) -> Plain:
        optional: Plain = {"by": attention.by} if attention.by != "weight" else {}
        optional |= {} if attention.rows_as is None else {"rows_as": attention.rows_as}
        if not attention.whole:  # nothing for full maps, so that earlier versions can read them
            window = None if attention.window is None else [list(span) for span in attention.window]
            optional |= {"window": window, "pool": attention.pool, "cell": list(attention.cell)}
        return {
            "kind": attention.kind,
            "text": attention.text,
            "queries": self._tokens_number(attention.queries),
            "keys": self._tokens_number(attention.keys),
            **{name: getattr(attention, name) for name in _MAP_OPTIONS},
            **optional,
            "layers": self._layers(attention),
        }

    def _layers(self, attention: Attention) -> list[Plain]:
        name = f"text-{attention.text}.{attention.kind}{'.norms' if attention.by == 'norm' else ''}"
        documents = []
        for maps, array in zip(attention.layers, self._arrays(name, attention), strict=True):
            visible = None if maps.visible is None else self.pool.share(f"{name}.visible", maps.visible)
            documents.append({"layer": maps.layer, "heads": list(maps.heads), **array, "visible": visible})
        return documents

    def _arrays(self, name: str, attention: Attention) -> list[Plain]:
        """Return for each layer the name and the axes of its array, which layers of the same shape may share."""
        axes = [axis for axis in self.axes if axis != "layer"]
        order = [AXES.index(axis) - 1 for axis in axes]
        parts = [maps.weights.transpose(order) for maps in attention.layers]
        if "layer" not in self.axes or len({part.shape for part in parts}) != 1:
            return [
                {"array": self.pool.add(f"{name}.layer-{maps.layer}", [part]), "axes": axes}
                for maps, part in zip(attention.layers, parts, strict=True)
            ]
        if self.axes[0] == "layer":
            array = self.pool.add(name, parts, stacked=True)
        else:
            array = self.pool.add(name, [np.stack(parts, axis=self.axes.index("layer"))])
        return [{"array": array, "axes": list(self.axes), "at": index} for index in range(len(parts))]

    def vectors(self, vectors: Vectors) -> Plain:
        name = f"text-{vectors.text}.{vectors.kind}.layer-{vectors.layer}"
        arrays = {part: self.pool.add(f"{name}.{part}", [getattr(vectors, part)]) for part in _VECTOR_ARRAYS}
        heads = {part: list(getattr(vectors, part)) for part in ("heads", "key_heads")}
        return {**{part: getattr(vectors, part) for part in _VECTOR_FIELDS}, **heads, **arrays}

    def statistics(self, statistics: Statistics) -> Plain:
        document: Plain = {
            table: {
                name: self._scores(f"{table}.{name}", scores) for name, scores in getattr(statistics, table).items()
            }
            for table in STATISTICS_TABLES
            if table not in ("share", "counts") or getattr(statistics, table)  # earlier versions do not know them
        }
        default = Statistics({})
        names = [name for name in _STATISTICS_FIELDS if getattr(statistics, name) != getattr(default, name)]
        return {**document, **{name: getattr(statistics, name) for name in names}}

    def _scores(self, name: str, scores: Scores) -> Plain:
        coords = {
            coord: {"dim": dim, **self._column(f"stats.{name}.{coord}", entries)}
            for coord, (dim, entries) in scores.coords.items()
        }
        meaning = {"unit": scores.unit, "range": list(scores.range), "source": scores.source}
        values = self.pool.share(f"stats.{name}", scores.values)
        return {"metric": scores.metric, "values": values, "dims": list(scores.dims), "coords": coords, **meaning}

    def _column(self, name: str, entries: Array) -> Plain:
        if entries.dtype.kind not in "OU":
            return {"array": self.pool.share(name, entries)}
        numbers: dict[tuple[type, Any], int] = {}
        codes = [numbers.setdefault((type(entry), entry), len(numbers)) for entry in entries.tolist()]
        array = self.pool.share(name, np.array(codes, np.int32))
        return {"array": array, "names": [entry for _, entry in numbers], "dtype": entries.dtype.str}


class Decoder:
    """Converts plain values and arrays back to the parts of a run."""

    def __init__(self, tokens: Sequence[Plain], arrays: Mapping[str, Array]) -> None:
        self.tokens = [_decode_tokens(document) for document in tokens]
        self.arrays = arrays

    def input(self, document: Plain) -> Input:
        given = document["text"]
        text = Text(given["text"], given["pair"], given["target"], tuple(given["messages"]))
        target = None if document["target"] is None else self.tokens[document["target"]]
        scaled = {kind: (self.tokens[q], self.tokens[k]) for kind, (q, k) in document.get("scaled", {}).items()}
        return Input(document["index"], text, self.tokens[document["source"]], target, scaled)

    def _array(self, name: str, dtype: type[np.generic]) -> Array:
        if name not in self.arrays:
            raise DamageError(f"there is no array '{name}'")
        if self.arrays[name].dtype != dtype:
            raise DamageError(f"expected the type {dtype.__name__} in array '{name}', got {self.arrays[name].dtype}")
        return self.arrays[name]

    def attention(self, document: Plain) -> Attention:
        fields: Plain = {name: document[name] for name in ("kind", "text", *_MAP_OPTIONS)}
        fields["rows_as"] = document.get("rows_as")
        if "cell" in document:
            window = None if document["window"] is None else tuple(map(tuple, document["window"]))
            fields |= {"window": window, "pool": document["pool"], "cell": tuple(document["cell"])}
        queries, keys = (self.tokens[document[side]] for side in ("queries", "keys"))
        layers = tuple(map(self._layer, document["layers"]))
        return Attention(queries=queries, keys=keys, layers=layers, by=document.get("by", "weight"), **fields)

    def _layer(self, document: Plain) -> LayerMaps:
        array, axes = self._array(document["array"], np.float32), document["axes"]
        if sorted(axes) not in (sorted(AXES), sorted(AXES[1:])) or array.ndim != len(axes):
            raise DamageError(f"expected layer, head, query and key, got the axes {axes} and shape {array.shape}")
        weights = array.transpose([axes.index(axis) for axis in AXES if axis in axes])
        weights = weights[document["at"]] if "layer" in axes else weights
        visible = None if document["visible"] is None else self._array(document["visible"], np.bool_)
        return LayerMaps(document["layer"], tuple(document["heads"]), weights, visible)

    def vectors(self, document: Plain) -> Vectors:
        heads: Plain = {part: tuple(document[part]) for part in ("heads", "key_heads")}
        arrays: Plain = {part: self._array(document[part], np.float32) for part in _VECTOR_ARRAYS}
        return Vectors(**{part: document[part] for part in _VECTOR_FIELDS}, **heads, **arrays)

    def statistics(self, tables: Plain) -> Statistics:
        scores: Plain = {
            name: {metric: self._scores(document) for metric, document in table.items()}
            for name, table in tables.items()
            if name in STATISTICS_TABLES
        }
        for name, table in scores.items():
            coords = [{coord: len(entries) for coord, (_, entries) in one.coords.items()} for one in table.values()]
            if coords and not (
                {"kind", "layer", "head"} <= coords[0].keys() and all(one == coords[0] for one in coords)
            ):
                raise DamageError(
                    f"expected kind, layer and head of the statistics of {name}, and rows of equal number"
                )
        more = {name: tables[name] for name in _STATISTICS_FIELDS if name in tables}
        if more.get("special") is not None:
            more["special"] = tuple(more["special"])
        return Statistics(**scores, **more)

    def _scores(self, document: Plain) -> Scores:
        values, dims = self._array(document["values"], np.float64), tuple(document["dims"])
        coords = {name: (column["dim"], self._column(column)) for name, column in document["coords"].items()}
        lengths = dict(zip(dims, values.shape, strict=True))
        if any(entries.shape != (lengths[dim],) for dim, entries in coords.values()):
            raise DamageError(f"expected one value of {document['metric']} for each head or token")
        meaning = {name: document[name] for name in ("metric", "unit", "source")}
        return Scores(values=values, dims=dims, coords=coords, range=tuple(document["range"]), **meaning)

    def _column(self, column: Plain) -> Array:
        names = column.get("names")
        if names is None:
            return self.arrays[column["array"]]
        codes = self._array(column["array"], np.int32)
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(names):
            raise DamageError(f"expected numbers below {len(names)} in array '{column['array']}'")
        entries = np.array([names[code] for code in codes], dtype=column["dtype"])
        if entries.dtype.kind == "U" and entries.tolist() != [names[code] for code in codes]:
            raise DamageError(f"expected names of at most {entries.dtype.itemsize // 4} characters, got longer ones")
        return entries


def _decode_tokens(document: Plain) -> Tokens:
    fields: Plain = {name: np.array(document[name]) for name in _TOKEN_ARRAYS}
    fields |= {name: tuple(document[name]) for name in ("pieces", "segments")}
    fields |= {name: tuple(document.get(name, ())) for name in _TOKEN_OPTIONS}
    return Tokens(**fields, text=document["text"], scheme=document["scheme"])
