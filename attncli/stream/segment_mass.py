"""How much attention stays within the segment of a token: one text of a pair, one turn of a chat."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from attncli.data import Array, Input, Kind, Rows, Tokens
from attncli.data.part_states import PartState
from attncli.stream.protocol import on_host
from attncli.stream.sums import Moments, OpenLayers, Sums, absorb_moments

_UNNAMED = -1


class SegmentMass:
    """How much attention goes to tokens of the same segment?

    Formula   mean over the rows i of a named segment of Σ_{j: s(j) = s(i)} A_ij, s the name of a token's segment
    Axes      weights [batch, head, row, key] → one number per head; over texts the mean of those
    Unit      1, from 0 to 1
    Undefined in texts with fewer than two named segments, and in cross-attention
    Caveat    Longer segments get more of uniform attention: only what exceeds it says something about a head.
              Special tokens belong to no segment. In a chat, all turns of a role are one segment.
    Source    the block pattern of Kovaleva et al. 2019

    inputs  the texts that will be streamed
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._segments: dict[tuple[int, Kind], Array | None] = {}
        for text in inputs:
            self._segments[text.index, "encoder"] = numbered_segments(text.source)
            self._segments[text.index, "decoder"] = numbered_segments(text.target or text.source)
        self._open = OpenLayers()
        self._moments: dict[tuple[Kind, int, tuple[int, ...]], Moments] = {}

    def add(self, rows: Rows) -> None:
        rows = on_host(rows)
        segments = [self._segments.get((text, rows.kind)) for text in rows.texts]
        if any(numbers is not None for numbers in segments):
            self._open.add(rows, _sums_within(rows, segments))

    def end_layer(self, kind: Kind, layer: int) -> None:
        for opened in self._open.pop(kind, layer):
            heads, total = opened.joined()
            values = (total["mass"] / total["rows"]).cpu().numpy()
            self._moments.setdefault((kind, layer, heads), Moments(values.shape[1:])).add(values)

    def state(self) -> PartState:
        """Return the moments over texts."""
        entries = self._moments.items()
        groups = [
            {"heads": [kind, layer, list(heads)], "values": values.state()} for (kind, layer, heads), values in entries
        ]
        return {"groups": groups}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink."""
        for group in state["groups"]:
            kind, layer, heads = group["heads"]
            absorb_moments(self._moments, (kind, layer, tuple(heads)), group["values"])

    def result(self) -> Mapping[tuple[Kind, int, int], tuple[float, float]]:
        """Return mean and standard deviation over texts by kind, layer and head, without heads that have no value."""
        return {
            (kind, layer, head): (float(moments.mean[index]), float(moments.std[index]))
            for (kind, layer, heads), moments in self._moments.items()
            for index, head in enumerate(heads)
        }


def numbered_segments(tokens: Tokens) -> Array | None:
    """Return the segment number of each token, -1 for none; None if fewer than two segments are named."""
    names = sorted({name for name in tokens.segments if name})
    if len(names) < 2:
        return None
    numbers = {name: number for number, name in enumerate(names)} | {"": _UNNAMED}
    return np.array([numbers[name] for name in tokens.segments], np.int64)


def _sums_within(rows: Rows, segments: Sequence[Array | None]) -> Sums:
    """Return the weights of the rows within their segments, summed, and the number of rows: [batch, head]."""
    padding = max(rows.key_lengths)
    table = np.full((len(segments), padding + 1), _UNNAMED)
    for entry, numbers in enumerate(segments):
        if numbers is not None:
            table[entry, : len(numbers)] = numbers
    numbers_of = torch.from_numpy(table).to(rows.weights.device)
    query_segments, key_segments = (
        numbers_of.gather(1, torch.where(positions < 0, padding, positions))
        for positions in (rows.query_positions, rows.key_positions)
    )
    counts = (rows.real & (query_segments >= 0)[:, None]).expand(rows.weights.shape[:3]).double()
    same = query_segments[:, :, None] == key_segments[:, None]
    mass = (rows.weights * same[:, None]).sum(-1, dtype=torch.float64)
    return {"mass": torch.where(counts > 0, mass, 0.0).sum(-1), "rows": counts.sum(-1)}
