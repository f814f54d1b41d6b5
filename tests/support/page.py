"""The page of `attncli view` read back: its document, checked against its schema, and its numbers."""

from __future__ import annotations

import base64
import json
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

WEB = Path(__file__).parents[2] / "web"
TEMPLATE = """<!doctype html>
<html><head><title>attncli</title></head>
<body>
<!--run-->
<script>1</script>
</body></html>
"""


class Read(HTMLParser):
    """The parsed page: scripts by id, the names of all tags, the text outside of scripts, and the numbers."""

    def __init__(self, html: str, schema: str = "page.schema.json") -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: dict[str | None, str] = {}
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        self.document = json.loads(self.scripts["page"])
        jsonschema.validate(self.document, json.loads((WEB / schema).read_text(encoding="utf-8")))
        self.blobs = [
            zlib.decompress(base64.b64decode(self.scripts[f"blob-{number}"], validate=True))
            for number in range(sum(name is not None and name.startswith("blob-") for name in self.scripts))
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts[dict(attrs).get("id")] = ""

    def handle_data(self, data: str) -> None:
        tag, attrs = self._open[-1] if self._open else ("", {})
        if tag == "script":
            self.scripts[attrs.get("id")] += data
        else:
            self.texts[tag] = self.texts.get(tag, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._open = [element for element in self._open if element[0] != tag]

    def _sizes(self, maps: dict[str, Any], layer: dict[str, Any]) -> tuple[int, int, int]:
        """Return heads, rows and columns of a map."""
        counts = [len(self.document["sides"][maps[name]]["pieces"]) for name in ("queries", "keys")]
        rows, columns = (-(-count // cell) for count, cell in zip(counts, maps["cell"], strict=True))
        return max(1, len(layer["heads"])), rows, columns

    def weights(self, maps: dict[str, Any], layer: dict[str, Any]) -> np.ndarray:
        """Return weights [head, query, key], NaN in undefined rows."""
        heads, rows, keys = self._sizes(maps, layer)
        blob = self.blobs[layer["weights"]]
        scale = np.frombuffer(blob, "<f4", heads * rows).reshape(heads, rows, 1)
        codes = np.frombuffer(blob, np.uint8, offset=scale.nbytes).reshape(heads, rows, keys)
        weights: np.ndarray = (codes / 255) ** 2 * scale
        return weights

    def visible(self, maps: dict[str, Any], layer: dict[str, Any]) -> np.ndarray:
        """Return the mask [1 or head, query, key]."""
        heads, rows, keys = self._sizes(maps, layer)
        if layer["visible"] is None:
            return np.ones((1, rows, keys), bool)
        blob = np.frombuffer(self.blobs[layer["visible"]], np.uint8)
        maps_of = heads if len(blob) > -(-rows * keys // 8) else 1
        return np.unpackbits(blob, count=maps_of * rows * keys).reshape(maps_of, rows, keys).astype(bool)

    def edges(self, maps: dict[str, Any], layer: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and weights [head, query, edge]; weight 0 is no edge."""
        heads = max(1, len(layer["heads"]))
        queries, keys = (len(self.document["sides"][maps[name]]["pieces"]) for name in ("queries", "keys"))
        blob, shape = self.blobs[layer["edges"]], (heads, queries, layer["per_row"])
        scale = np.frombuffer(blob, "<f4", heads * queries).reshape(heads, queries, 1)
        key_numbers = np.frombuffer(blob, "<u2" if keys <= 65536 else "<u4", int(np.prod(shape)), scale.nbytes)
        codes = np.frombuffer(blob, np.uint8, offset=scale.nbytes + key_numbers.nbytes)
        return key_numbers.reshape(shape), (codes.reshape(shape) / 255) ** 2 * np.nan_to_num(scale)

    def vectors(self, vectors: dict[str, Any], maps: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return queries [head, query, dim], the keys of each head [head, key, dim] and normalizers [head, query]."""
        queries, keys = (len(self.document["sides"][maps[name]]["pieces"]) for name in ("queries", "keys"))
        heads, dim = len(vectors["heads"]), vectors["dim"]
        vectors_of = []
        for name, count, tokens in (("query", heads, queries), ("key", max(vectors["key_heads"]) + 1, keys)):
            blob = self.blobs[vectors[name]]
            scale = np.frombuffer(blob, "<f4", count * tokens).reshape(count, tokens, 1)
            vectors_of.append(
                np.frombuffer(blob, "<i2", offset=scale.nbytes).reshape(count, tokens, dim) / 32767 * scale
            )
        normalizer = np.frombuffer(self.blobs[vectors["normalizer"]], "<f4").reshape(heads, queries)
        return vectors_of[0], vectors_of[1][vectors["key_heads"]], normalizer

    def rebuilt(self, vectors: dict[str, Any], maps: dict[str, Any]) -> np.ndarray:
        """Return the weights [head, query, key] that the vectors give for all keys, masked or not, without bias."""
        query, key, normalizer = self.vectors(vectors, maps)
        scores = vectors["scale"] * query @ key.swapaxes(1, 2)
        if vectors["softcap"] is not None:
            scores = vectors["softcap"] * np.tanh(scores / vectors["softcap"])
        weights: np.ndarray = np.exp(scores - normalizer[..., None])
        return weights
