"""The attention of a head that knows only positions, as other texts show it: one text is left out at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from attncli.data import Kind, Rows, kind_order
from attncli.stream.diagonals import sums_by_offset, visible_ranges
from attncli.stream.position_baseline import BLOCK_CELLS, position_rows
from attncli.stream.protocol import Sink, on_host
from attncli.stream.sums import LayerParts, OpenLayers, Sums

Tensor = torch.Tensor
_SHARED = ("visible_rows", "start", "stop")
"""Numbers that depend on the mask alone: one head stands for all if they are equal."""


@dataclass(frozen=True)
class _TextSums:
    """What one text says about one layer.

    sums  mass and visible_rows by offset, from that of the last query to key 0, to that of query 0 to the last key;
          start and stop of the visible keys of each row; [head, …] each, with one head if all heads are equal
    """

    text: int
    heads: tuple[int, ...]
    queries: int
    keys: int
    sums: Sums


class OtherTextsBaseline:
    """A sink that feeds weights by position alone to another sink, learned from the texts that are not fed.

    The rows of a text are p(j-i) / Σ_{k ∈ S_i} p(k-i), p(o) the head's mean weight A_i,i+o over the rows of all other
    texts for which i+o is visible; 0 for offsets that no other text has. A row without any such weight is uniform. The
    other sink gets all rows from `feed`, and none if there is only one text: its own mean weights would explain it by
    construction.

    A few numbers per text, head and token are kept: of the visible keys of a row, the first and the last. Layers whose
    rows see keys with gaps between them (Longformer's global tokens) are therefore left out.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._open = OpenLayers()
        self._layers: dict[tuple[Kind, int], list[_TextSums]] = {}
        self._with_gaps: set[tuple[Kind, int]] = set()

    def add(self, rows: Rows) -> None:
        rows = on_host(rows)
        self._open.add(rows, sums_by_offset(rows) | visible_ranges(rows))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Keep the sums of each text of the batch."""
        texts = self._layers.setdefault((kind, layer), [])
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            if bool(total.pop("gaps").any()):
                self._with_gaps.add((kind, layer))
            texts += [_text_sums(opened, entry, heads, total) for entry in range(len(opened.texts))]

    def feed(self) -> None:
        """Make the rows of all texts and feed them to the other sink; needs at least two texts."""
        for kind, layer in sorted(self._layers, key=lambda key: (kind_order(key[0]), key[1])):
            texts = self._layers.pop((kind, layer))
            if len(texts) > 1 and (kind, layer) not in self._with_gaps:
                for rows in _rows_by_position(kind, layer, sorted(texts, key=lambda sums: sums.text)):
                    self._sink.add(rows)
            self._sink.end_layer(kind, layer)


def _text_sums(opened: LayerParts, entry: int, heads: tuple[int, ...], total: Sums) -> _TextSums:
    """Return the sums of one text of a batch, whose texts may be longer."""
    queries, keys = opened.query_lengths[entry], opened.key_lengths[entry]
    first_offset = max(opened.query_lengths) - queries
    offsets = slice(first_offset, first_offset + queries + keys - 1)
    sums = {}
    for name, values in total.items():
        of_text = values[entry, :, offsets if name in ("mass", "visible_rows") else slice(queries)].float()
        if name in _SHARED and bool((of_text == of_text[:1]).all()):
            of_text = of_text[:1]
        sums[name] = of_text.clone()
    return _TextSums(opened.texts[entry], heads, queries, keys, sums)


def _rows_by_position(kind: Kind, layer: int, texts: Sequence[_TextSums]) -> Iterator[Rows]:
    """Yield the rows of each text, some at a time."""
    longest = max(text.queries for text in texts)
    width = longest + max(text.keys for text in texts) - 1
    heads = texts[0].heads
    total = {name: torch.zeros(len(heads), width, dtype=torch.float64) for name in ("mass", "visible_rows")}
    for text in texts:
        for name, sums in total.items():
            sums[:, _offsets(text, longest)] += text.sums[name].double()
    for text in texts:
        mass, visible_rows = (
            total[name][:, _offsets(text, longest)] - text.sums[name].double() for name in ("mass", "visible_rows")
        )
        by_offset = (mass / visible_rows).where(visible_rows > 0, 0.0).clamp_min(0.0)
        alone = LayerParts((text.text,), (text.queries,), (text.keys,))
        yield from rows_of_text(kind, layer, heads, alone, by_offset, text.sums)


def rows_of_text(
    kind: Kind, layer: int, heads: tuple[int, ...], alone: LayerParts, by_offset: Tensor, ranges: Sums
) -> Iterator[Rows]:
    """Yield the rows of one text, some at a time: weights by position alone, uniform where none is known.

    by_offset  [head, offset] as in `position_rows`
    ranges     start and stop of the visible keys of each row, [1 or head, row]
    """
    queries, keys = alone.query_lengths[0], alone.key_lengths[0]
    of_heads = {name: ranges[name].expand(len(heads), -1)[None] for name in ("start", "stop")}
    step = max(1, BLOCK_CELLS // (len(heads) * keys))
    for first in range(0, queries, step):
        block = range(first, min(first + step, queries))
        weights, visibility = position_rows(alone, [0], block, by_offset[None], of_heads)
        visible = visibility.visible.to(weights.dtype)
        uniform = visible / visible.sum(-1, keepdim=True).clamp_min(1)
        weights = torch.where(weights.sum(-1, keepdim=True) > 0, weights, uniform)
        yield Rows(kind, layer, heads, alone.texts, weights, visibility)


def _offsets(text: _TextSums, longest: int) -> slice:
    """Return which of the offsets of all texts a text has."""
    first = longest - text.queries
    return slice(first, first + text.queries + text.keys - 1)
