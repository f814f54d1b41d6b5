"""The sink that measures where attention goes over the whole text; it keeps one number per key and head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Profile, Received, Rows, Scores, Selection
from attncli.stream.head_sums import LayerParts, OpenLayers, Sums
from attncli.stream.head_table import Coords, HeadTable
from attncli.stream.protocol import selected
from attncli.stream.regions import ENDS, SELF_ONLY, Regions

_VALUES = ("mass", "uniform_mass")


@dataclass(frozen=True, eq=False)
class _ReceivedInLayer:
    """What each key of one text receives in one layer: values, seen [head, key], rows [head]."""

    layer: int
    heads: tuple[int, ...]
    values: Array
    seen: Array
    rows: Array


class MeasureProfile:
    """For every head: what each key receives, and the mass by distance and at the first and last `ends` tokens."""

    def __init__(self, inputs: Sequence[Input], *, ends: int = 64, heads: Selection | None = None) -> None:
        self._inputs, self._heads = tuple(inputs), heads
        longest = max((len(side) for text in inputs for kind in KINDS for side in text.sides(kind)), default=1)
        self._regions = Regions(longest, ends)
        self._open = OpenLayers()
        self._received: dict[tuple[int, Kind], list[_ReceivedInLayer]] = {}
        self._table = HeadTable()

    def add(self, rows: Rows) -> None:
        """Sum up one block."""
        part = selected(rows, self._heads)
        if part is not None:
            self._open.add(part, self._regions.sums(part) | _sums_by_key(part))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Add the sums of a layer to the moments over texts."""
        for opened in self._open.pop(kind, layer):
            self._finish(kind, layer, opened)

    def result(self) -> Profile:
        """Return the profile of all texts that were streamed."""
        bins = np.array(self._regions.bins).reshape(-1, 2).T
        bin_coords = {"from": ("bin", bins[0]), "to": ("bin", bins[1])}
        end_coords = {
            "end": ("end", np.array(ENDS, dtype=object)),
            "tokens": ("end", np.full(len(ENDS), self._regions.ends)),
        }
        distance, ends = self._scores("mean", bin_coords), self._scores("mean", end_coords)
        if not self._table.several_texts:
            return Profile(self._by_text(), distance, ends, {}, {})
        return Profile(
            self._by_text(), distance, ends, self._scores("std", bin_coords), self._scores("std", end_coords)
        )

    def _finish(self, kind: Kind, layer: int, opened: LayerParts) -> None:
        heads, total = opened.joined()
        count = torch.where(total["uniform"] > 0, total["count"], torch.nan)
        means = (torch.stack([total["mass"], total["uniform"]], dim=-1) / count[..., None]).cpu().numpy()
        if kind == "cross":
            means[:, :, [len(self._regions.bins) + ENDS.index(name) for name in SELF_ONLY]] = np.nan
        self._table.add(kind, layer, heads, means)
        received = (total["received"] / total["visible_rows"]).cpu().numpy()
        seen, rows = (total[name].cpu().numpy().astype(np.int32) for name in ("visible_rows", "rows"))
        for entry, (text, keys) in enumerate(zip(opened.texts, opened.key_lengths, strict=True)):
            self._received.setdefault((text, kind), []).append(
                _ReceivedInLayer(layer, heads, received[entry, :, :keys], seen[entry, :, :keys], rows[entry])
            )

    def _by_text(self) -> tuple[Received, ...]:
        sides = {text.index: text for text in self._inputs}
        texts = []
        for text, kind in sorted(self._received, key=lambda key: (key[0], KINDS.index(key[1]))):
            layers = sorted(self._received[text, kind], key=lambda part: part.layer)
            numbers = np.repeat([part.layer for part in layers], [len(part.heads) for part in layers])
            columns = (
                np.concatenate([getattr(part, name) for part in layers]) for name in ("heads", "values", "seen", "rows")
            )
            texts.append(Received(text, kind, sides[text].sides(kind)[1], numbers, *columns))
        return tuple(texts)

    def _scores(self, what: Literal["mean", "std"], region_coords: Coords) -> dict[str, Scores]:
        """Return `_VALUES` with the axes [head, bin] or [head, end], ordered by kind, layer and head."""
        regions = len(self._regions.bins) + len(ENDS)
        dim = next(iter(region_coords.values()))[0]
        # distances: not in cross-attention, where i and j count different texts
        kinds = ("encoder", "decoder") if dim == "bin" else KINDS
        coords, values = self._table.rows(what, (regions, len(_VALUES)), kinds)
        bins = len(self._regions.bins)
        values = values[:, :bins] if dim == "bin" else values[:, bins:]
        coords = {name: coords[name] for name in ("kind", "layer", "head")} | region_coords
        source = "Xiao et al. 2023" if dim == "end" else "Vig & Belinkov 2019"
        return {
            name: Scores(name, values[..., index], ("head", dim), coords, "1", (0.0, 1.0), source)
            for index, name in enumerate(_VALUES)
        }


def _sums_by_key(rows: Rows) -> Sums:
    """Return sums over the rows of a block.

    received      [batch, head, key] Σ_i A_ik
    visible_rows  [batch, head, key] number of rows that see the key
    rows          [batch, head] number of rows
    """
    heads, padding = rows.weights.shape[1], max(rows.key_lengths)
    real = rows.real.to(rows.weights.dtype)[:, :, None].expand(-1, heads, -1, -1)
    index = torch.where(rows.key_positions < 0, padding, rows.key_positions)[:, None].expand(-1, heads, -1)
    zeros = rows.weights.new_zeros((len(index), heads, padding + 1), dtype=torch.float64)
    by_block_key = {
        "received": (real @ rows.weights).squeeze(2),
        "visible_rows": rows.visible_pairs.sum(2).expand(-1, heads, -1),
    }
    sums = {name: zeros.scatter_add(-1, index, values.double())[..., :padding] for name, values in by_block_key.items()}
    return sums | {"rows": rows.real.sum(2).double().expand(-1, heads)}
