"""The attention of a head that knows only positions, learned from all texts of a corpus."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from attncli.data import Array, Input, Kind, Rows, Text, Tokens
from attncli.data.part_states import PartState
from attncli.stream.diagonals import sums_by_offset, visible_ranges
from attncli.stream.other_texts import rows_of_text
from attncli.stream.protocol import on_host
from attncli.stream.sums import LayerParts, OpenLayers, Sums

_SUMS = ("mass", "visible_rows")
_RANGES = ("start", "stop")


@dataclass(frozen=True)
class TextShape:
    """What the rows of a text depend on if weights depend on positions alone; many texts share one.

    start, stop  first visible key of each row and the one after the last, [1 or head, row]
    segments     names of the segments of its tokens; empty without segments
    """

    queries: int
    keys: int
    start: bytes
    stop: bytes
    segments: tuple[str, ...] = ()

    def ranges(self) -> Sums:
        """Return start and stop as tensors."""
        arrays = {name: np.frombuffer(getattr(self, name), np.int64).reshape(-1, self.queries) for name in _RANGES}
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def as_input(self) -> Input:
        """Return a text of this shape."""
        tokens = Tokens.plain([str(number) for number in range(self.queries)])
        segments = self.segments or tokens.segments
        return Input(0, Text("text"), replace(tokens, segments=segments))


@dataclass
class _LayerSums:
    """The sums of a layer by offset, from that of the longest text's last query to key 0, and the shapes of texts.

    sums  mass and visible_rows, [head, offset] float64
    """

    heads: tuple[int, ...]
    queries: int
    keys: int
    sums: dict[str, Array]
    shapes: dict[TextShape, int] = field(default_factory=dict)
    gaps: bool = False

    @classmethod
    def empty(cls, heads: tuple[int, ...]) -> "_LayerSums":
        return cls(heads, 1, 1, {name: np.zeros((len(heads), 1)) for name in _SUMS})

    def add(self, queries: int, keys: int, sums: Mapping[str, Array]) -> None:
        """Add sums over texts; `queries` and `keys` are those of the longest."""
        longest, widest = max(queries, self.queries), max(keys, self.keys)
        for name, added in sums.items():
            total = np.zeros((len(self.heads), longest + widest - 1))
            for values, first, last in ((self.sums[name], self.queries, self.keys), (added, queries, keys)):
                total[:, longest - first : longest + last - 1] += values
            self.sums[name] = total
        self.queries, self.keys = longest, widest

    def by_offset(self, shape: TextShape) -> torch.Tensor:
        """Return the mean weights at the offsets of a text: [head, offset]."""
        mass, rows = (
            self.sums[name][:, self.queries - shape.queries : self.queries + shape.keys - 1] for name in _SUMS
        )
        return torch.from_numpy(np.where(rows > 0, mass / np.maximum(rows, 1), 0.0).clip(0.0))


class PositionTotals:
    """A sink for the mean weight of each head at each offset over all texts, and the shapes of the texts.

    The rows of a text by position alone are p(j-i) / Σ_{k ∈ S_i} p(k-i), p(o) the head's mean weight A_i,i+o over the
    rows of all texts for which i+o is visible. A corpus has so many texts that none need be left out, as
    `OtherTextsBaseline` does. Layers whose rows see keys with gaps between them are left out.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = {text.index: text for text in inputs}
        self._open = OpenLayers()
        self._layers: dict[tuple[Kind, int], _LayerSums] = {}

    def add(self, rows: Rows) -> None:
        rows = on_host(rows)
        self._open.add(rows, sums_by_offset(rows) | visible_ranges(rows))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Add the texts of a batch."""
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            sums = self._layers.setdefault((kind, layer), _LayerSums.empty(heads))
            sums.gaps |= bool(total["gaps"].any())
            by_offset = {name: total[name].sum(0).cpu().numpy() for name in _SUMS}
            sums.add(max(opened.query_lengths), max(opened.key_lengths), by_offset)
            for entry, text in enumerate(opened.texts):
                lengths = opened.query_lengths[entry], opened.key_lengths[entry]
                start, stop = (_of_all_heads(total[name][entry, :, : lengths[0]]) for name in _RANGES)
                segments = self._inputs[text].sides(kind)[0].segments if kind in ("encoder", "decoder") else ()
                shape = TextShape(*lengths, start, stop, tuple(segments) if any(segments) else ())
                sums.shapes[shape] = sums.shapes.get(shape, 0) + 1

    def state(self) -> PartState:
        """Return the sums and the number of texts of each shape."""
        return {"layers": [_layer_state(kind, layer, sums) for (kind, layer), sums in self._layers.items()]}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink."""
        for entry in state["layers"]:
            kind, layer, heads = entry["heads"]
            sums = self._layers.setdefault((kind, layer), _LayerSums.empty(tuple(heads)))
            sums.gaps |= entry["gaps"]
            sums.add(entry["queries"], entry["keys"], {name: entry[name] for name in _SUMS})
            for of_shape in entry["shapes"]:
                start, stop = (of_shape[name].tobytes() for name in _RANGES)
                shape = TextShape(of_shape["queries"], of_shape["keys"], start, stop, tuple(of_shape["segments"]))
                sums.shapes[shape] = sums.shapes.get(shape, 0) + of_shape["texts"]

    def shapes(self) -> Iterator[tuple[Kind, int, tuple[int, ...], TextShape, int, Iterator[Rows]]]:
        """Yield kind, layer, heads, a shape, the number of texts of this shape, and the rows of one of them."""
        for (kind, layer), sums in self._layers.items():
            for shape, texts in () if sums.gaps else sums.shapes.items():
                alone = LayerParts((0,), (shape.queries,), (shape.keys,))
                rows = rows_of_text(kind, layer, sums.heads, alone, sums.by_offset(shape), shape.ranges())
                yield kind, layer, sums.heads, shape, texts, rows


def _of_all_heads(values: torch.Tensor) -> bytes:
    """Return values [head, row] as bytes of int64, with one head if all heads are equal."""
    array = values.cpu().numpy().astype(np.int64)
    return (array[:1] if (array == array[:1]).all() else array).tobytes()


def _layer_state(kind: Kind, layer: int, sums: _LayerSums) -> dict[str, Any]:
    shapes = [
        {
            "queries": shape.queries,
            "keys": shape.keys,
            **{name: np.frombuffer(getattr(shape, name), np.int64) for name in _RANGES},
            "segments": list(shape.segments),
            "texts": texts,
        }
        for shape, texts in sums.shapes.items()
    ]
    of_layer = {"heads": [kind, layer, list(sums.heads)], "gaps": sums.gaps, "shapes": shapes}
    return {**of_layer, "queries": sums.queries, "keys": sums.keys, **sums.sums}
