"""Attention between segments by position alone, computed without rows of weights."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from attncli.data import Array, Kind
from attncli.stream.position_baseline import BLOCK_CELLS, PositionBaseline
from attncli.stream.protocol import Sink
from attncli.stream.sums import LayerParts, Sums

Tensor = torch.Tensor


class SumsOfSegments(Sink, Protocol):
    """A sink that also takes the sums of a whole layer."""

    def members_of(self, text: int, kind: Kind) -> tuple[Array, Array]:
        """Return [row, segment] and [key, segment]: 1 if the row or the key belongs to the segment."""

    def add_layer(self, kind: Kind, layer: int, texts: tuple[int, ...], total: Sums) -> None:
        """Add `mass` and `uniform`, [text, head, from, to], and `count`, [text, head, from]."""


class PositionMasses(PositionBaseline):
    """The weights by position alone of `PositionBaseline`, summed between segments for a sink of such sums.

    A segment is a few runs of consecutive keys, and the weights of a run are a difference of two running sums over
    offsets: the cost of a row depends on the number of runs, not on that of its keys. Uniform masses are 0.
    """

    def __init__(self, sums: SumsOfSegments) -> None:
        super().__init__(sums)
        self._sums = sums

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Add the sums of a layer to the other sink, then end the layer."""
        for opened in self._open.pop(kind, layer):
            _, total = opened.joined()
            if not bool(total["gaps"].any()):
                by_offset = (total["mass"] / total["visible_rows"]).nan_to_num()
                texts = [self._of_text(opened, entry, kind, by_offset[entry], total) for entry in range(len(by_offset))]
                sums = {name: torch.stack([of_text[name] for of_text in texts]) for name in texts[0]}
                self._sums.add_layer(kind, layer, opened.texts, sums)
        self._sums.end_layer(kind, layer)

    def _of_text(self, opened: LayerParts, entry: int, kind: Kind, by_offset: Tensor, ranges: Sums) -> Sums:
        """Return the sums of one text, [head, from, to] and [head, from]."""
        of_queries, of_keys = self._sums.members_of(opened.texts[entry], kind)
        starts = np.flatnonzero(np.append(True, (of_keys[1:] != of_keys[:-1]).any(1)))
        borders = torch.from_numpy(np.append(starts, len(of_keys))).to(by_offset.device)
        rows_of, to_of_run = (torch.from_numpy(part).to(by_offset) for part in (of_queries, of_keys[starts]))
        before = torch.nn.functional.pad(by_offset.cumsum(-1), (1, 0))  # the sum over all offsets below each
        first, last = (ranges[name][entry, :, : len(of_queries), None] for name in ("start", "stop"))
        zero_offset, step = max(opened.query_lengths) - 1, max(1, BLOCK_CELLS // (len(by_offset) * len(borders)))
        mass = by_offset.new_zeros((len(by_offset), rows_of.shape[1], to_of_run.shape[1]))
        count = mass.new_zeros(mass.shape[:2])
        for part in torch.split(torch.arange(len(of_queries), device=by_offset.device), step):
            ends = borders.clamp(first[:, part], last[:, part]) - part[:, None] + zero_offset
            of_runs = before.gather(-1, ends.flatten(1)).view(ends.shape).diff(dim=-1)
            shares = of_runs / of_runs.sum(-1, keepdim=True).clamp_min(torch.finfo(of_runs.dtype).tiny)
            counted = rows_of[part] * (last > first)[:, part]
            mass += counted.transpose(1, 2) @ (shares @ to_of_run)
            count += counted.sum(1)
        return {"mass": mass, "uniform": torch.zeros_like(mass), "count": count}
