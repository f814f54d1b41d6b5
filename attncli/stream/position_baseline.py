"""The attention of a head that knows only positions: its mean weight at each offset, on the visible keys."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from attncli.data import Array, Kind, Rows, Visibility
from attncli.stream.diagonals import sums_by_offset, visible_ranges
from attncli.stream.protocol import Sink, on_host
from attncli.stream.sums import LayerParts, OpenLayers, Sums

Tensor = torch.Tensor
BLOCK_CELLS = 1 << 20


class PositionBaseline:
    """A sink that feeds weights by position alone to another sink, learned from the same text.

    The other sink gets rows with p(j-i) / Σ_{k ∈ S_i} p(k-i), p(o) the head's mean weight A_i,i+o over the rows of the
    text for which i+o is visible.

    held_out  rows by text and kind that p is not learned from; only rows from the first to the last of these are fed
    rows      evenly spread rows that are fed, by text and kind, to a sink that keeps chosen rows; all by default
    fill      whether p of an offset that only held-out rows have is their mean; else it is 0

    Only a few numbers per head and token are kept: of the visible keys of a row, the first and
    the last. Layers whose rows see keys with gaps between them (Longformer's global tokens) are therefore left out.
    """

    def __init__(
        self,
        sink: Sink,
        held_out: Mapping[tuple[int, Kind], Array] | None = None,
        *,
        fill: bool = False,
        rows: Mapping[tuple[int, Kind], range] | None = None,
    ) -> None:
        self._sink, self._held_out, self._fill = sink, held_out, fill
        self._rows = {} if rows is None else rows
        self._open = OpenLayers()

    def add(self, rows: Rows) -> None:
        rows = on_host(rows)
        learned = self._learned(rows)
        sums = sums_by_offset(rows, learned) | visible_ranges(rows)
        if self._fill and learned is not None:
            held_out = sums_by_offset(rows, rows.real & ~learned)
            sums |= {f"held_out_{name}": sum_ for name, sum_ in held_out.items()}
        self._open.add(rows, sums)

    def _learned(self, rows: Rows) -> Tensor | None:
        """Return which rows the mean weights are learned from, [batch, 1 or head, row] bool; None for all."""
        if self._held_out is None:
            return None
        held_out = torch.zeros_like(rows.query_positions, dtype=torch.bool)
        for entry, text in enumerate(rows.texts):
            positions = torch.from_numpy(self._fed(text, rows.kind)).to(held_out.device)
            held_out[entry] = torch.isin(rows.query_positions[entry], positions)
        return rows.real & ~held_out[:, None]

    def _fed(self, text: int, kind: Kind) -> Array:
        """Return the rows of a text that are held out."""
        return (self._held_out or {}).get((text, kind), np.array([], np.int64))

    def _range(self, text: int, kind: Kind, queries: int) -> range:
        """Return the rows of a text that are fed."""
        if (text, kind) in self._rows:
            return self._rows[text, kind]
        if self._held_out is None:
            return range(queries)
        rows = self._fed(text, kind)
        return range(int(rows.min()), int(rows.max()) + 1) if len(rows) else range(0)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Make the rows of a layer and feed them to the other sink, then end the layer."""
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            if bool(total["gaps"].any()):
                continue
            by_offset = total["mass"] / total["visible_rows"]
            if self._fill:
                by_offset = by_offset.where(
                    total["visible_rows"] > 0, total["held_out_mass"] / total["held_out_visible_rows"]
                )
            by_offset = by_offset.nan_to_num()
            lengths = zip(opened.texts, opened.query_lengths, strict=True)
            fed = [self._range(text, kind, length) for text, length in lengths]
            for entries, block in _blocks(opened, len(heads), fed):
                texts = tuple(opened.texts[entry] for entry in entries)
                made = position_rows(opened, entries, block, by_offset, total)
                self._sink.add(Rows(kind, layer, heads, texts, *made))
        self._sink.end_layer(kind, layer)


def _blocks(opened: LayerParts, heads: int, fed: Sequence[range]) -> Iterator[tuple[list[int], range]]:
    """Yield the texts of a batch that have the same lengths and rows, and a few of their rows at a time."""
    alike = list(zip(opened.query_lengths, opened.key_lengths, fed, strict=True))
    for queries, keys, rows in dict.fromkeys(alike):
        entries = [entry for entry, of_entry in enumerate(alike) if of_entry == (queries, keys, rows)]
        step = max(1, BLOCK_CELLS // (len(entries) * heads * keys))
        for first in range(0, len(rows), step):
            yield entries, rows[first : first + step]


def position_rows(
    opened: LayerParts, entries: list[int], rows: range, by_offset: Tensor, ranges: Sums
) -> tuple[Tensor, Visibility]:
    """Return weights that depend on the offset alone, and which keys are visible, for some rows of some texts.

    by_offset  [text, head, offset] weights from the offset of the last query to key 0, to that of query 0 to the last
               key
    ranges     start and stop of the visible keys of each row, [text, head, row]
    """
    count, keys_count, heads = len(entries), opened.key_lengths[entries[0]], by_offset.shape[1]
    queries = torch.arange(rows.start, rows.stop, rows.step, device=by_offset.device).expand(count, -1)
    keys = torch.arange(keys_count, device=by_offset.device).expand(count, -1)
    start, stop = (
        ranges[name][entries, :heads, rows.start : rows.stop : rows.step, None] for name in ("start", "stop")
    )
    visible = (keys[:, None, None] >= start) & (keys[:, None, None] < stop)
    # the row of query i begins at offset -i
    zero_offset = max(opened.query_lengths) - 1
    windows = by_offset[entries].unfold(-1, keys_count, 1)
    from_last = slice(zero_offset - rows[-1], zero_offset - rows[0] + 1, rows.step)
    weights = windows[:, :, from_last].flip(2) * visible
    total = weights.sum(-1, keepdim=True)
    visibility = Visibility(
        visible=visible,
        query_positions=queries,
        key_positions=keys,
        special_keys=torch.zeros_like(keys, dtype=torch.bool),
        query_lengths=(opened.query_lengths[entries[0]],) * count,
        key_lengths=(keys_count,) * count,
        special_counts=(0,) * count,
        slices=(slice(rows.start, rows.stop), slice(0, keys_count)) if rows.step == 1 else None,
    )
    return weights / total.clamp_min(torch.finfo(weights.dtype).tiny), visibility
