"""Small runs made by hand, and a comparison of results."""

from __future__ import annotations

from typing import Any

import numpy as np

from attncli.data import Attention, Input, LayerMaps, RunInfo, Scores, Statistics, Text, Tokens

PIECES = ("[CLS]", "the", "##re")


def tokens(pieces: tuple[str, ...] = PIECES) -> Tokens:
    n = len(pieces)
    spans = np.stack([np.arange(n), np.arange(n) + 1], axis=1)
    segments = ("a",) * n
    return Tokens(pieces, np.arange(n), np.arange(n) == 0, spans, np.arange(n), segments, "text", "wordpiece")


def info() -> RunInfo:
    versions = {"attncli": "0.1.0", "torch": "2.13.0"}
    return RunInfo("demo:encoder", cls="BertModel", capture="stream", versions=versions, given={"out": "x"})


def scores(metric: str, values: list[float], **coords: Any) -> Scores:
    dim = "head" if "head" in coords and "query" not in coords else "row"
    named = {name: (dim, np.array(entries)) for name, entries in coords.items()}
    for name in ("kind", "token"):
        if name in named:
            named[name] = (dim, np.array(coords[name], dtype=object))
    return Scores(metric, np.array(values), (dim,), named, "nat", (0.0, None), "Somebody 2020")


def statistics(pieces: tuple[str, ...] = PIECES, std: bool = False) -> Statistics:
    """Return statistics of two heads of one layer; the entropy of the second is undefined; one token row per piece."""
    n = len(pieces)
    heads = {
        "kind": ["encoder", "encoder"],
        "layer": [0, 0],
        "head": [0, 1],
        "texts": [1, 1],
        "queries": [n, n],
    }
    rows = {"text": [0] * n, "kind": ["encoder"] * n, "layer": [0] * n, "head": [0] * n, "query": list(range(n))}
    return Statistics(
        heads={
            "entropy": scores("entropy", [0.1 + 0.2, np.nan], **heads),
            "distance": scores("distance", [1.0, 1 / 3], **heads),
        },
        std={"entropy": scores("entropy", [0.5, np.nan], **heads)} if std else {},
        tokens={"entropy": scores("entropy", [0.5] * n, **rows, token=list(pieces))},
    )


def one_input(pieces: tuple[str, ...] = PIECES) -> Input:
    return Input(0, Text("there"), tokens(pieces))


def attention(layers: int = 2, heads: int = 3) -> Attention:
    side = tokens()
    n = len(side)
    visible = np.tri(n, dtype=bool)[None]
    maps = np.random.default_rng(0).random((layers, heads, n, n), dtype=np.float32) * visible
    maps /= maps.sum(-1, keepdims=True)
    kept = tuple(LayerMaps(layer, tuple(range(heads)), maps[layer], visible) for layer in range(layers))
    return Attention("decoder", side, side, kept)


def parts(result: Any) -> Any:
    """Return a result as nested plain values to compare with `==`: arrays with their type, NaN equal to NaN."""
    if isinstance(result, np.ndarray):
        return (result.dtype.str, result.shape, [repr(entry) for entry in result.ravel().tolist()])
    if isinstance(result, (list, tuple)):
        return [parts(entry) for entry in result]
    if isinstance(result, dict):
        return [(name, parts(entry)) for name, entry in result.items()]
    if hasattr(result, "__dataclass_fields__"):
        return (type(result).__name__, [parts(getattr(result, name)) for name in result.__dataclass_fields__])
    return result
