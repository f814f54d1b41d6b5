"""How much attention stays within the segment of a token: one text of a pair, one turn of a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from attncli.data import Array, Input, Kind, Rows, Tokens
from attncli.stream import selected
from attncli.stream.moments import Moments
from attncli.stream.parts import Sums, add, join

Place = tuple[Kind, int, tuple[int, ...]]
UNNAMED = -1


class SegmentMass:
    """How much attention goes to tokens of the same segment?

    Formula   mean over the rows i of a named segment of Σ_{j: s(j) = s(i)} A_ij, s the name of a token's segment
    Axes      weights [batch, head, row, key] → one number per head; over texts the mean of those
    Unit      1, from 0 to 1
    Undefined in texts with fewer than two named segments, and in cross-attention
    Caveat    Longer segments have more of even attention: only what is beyond that says something of a head.
              Special tokens belong to no segment. Of a chat, all turns of a role are one segment.
    Source    the block pattern of Kovaleva et al. 2019

    inputs  the texts as they will come
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = {one.index: one for one in inputs}
        self._numbers: dict[tuple[int, Kind], Array | None] = {}
        self._open: dict[Place, dict[tuple[int, ...], Sums]] = {}
        self._done: dict[tuple[Kind, int, tuple[int, ...]], Moments] = {}

    def add(self, rows: Rows) -> None:
        """Sum up one block."""
        part = selected(rows, None)
        assert part is not None
        named = [self._of(text, part.kind) for text in part.texts]
        if all(numbers is None for numbers in named):
            return
        opened = self._open.setdefault((part.kind, part.layer, part.texts), {})
        opened[part.heads] = add(opened.get(part.heads), _within(part, named))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Combine the values of a layer into the moments over texts."""
        for place in [place for place in self._open if place[:2] == (kind, layer)]:
            heads, total = join(self._open.pop(place).items())
            found = (total["mass"] / total["rows"]).cpu().numpy()
            self._done.setdefault((kind, layer, heads), Moments(found.shape[1:])).add(found)

    def result(self) -> Mapping[tuple[Kind, int, int], tuple[float, float]]:
        """Mean and standard deviation over texts by kind, layer and head; those that are undefined are not there."""
        return {
            (kind, layer, head): (float(done.mean[at]), float(done.std[at]))
            for (kind, layer, heads), done in self._done.items()
            for at, head in enumerate(heads)
        }

    def _of(self, text: int, kind: Kind) -> Array | None:
        """The number of each token's segment, None where there are not two of them."""
        if (text, kind) not in self._numbers:
            queries, _ = self._inputs[text].sides(kind)
            self._numbers[text, kind] = None if kind == "cross" else numbered_segments(queries)
        return self._numbers[text, kind]


def numbered_segments(tokens: Tokens) -> Array | None:
    """[token] the number of its segment, -1 for none; None where fewer than two are named."""
    names = sorted({name for name in tokens.segments if name})
    if len(names) < 2:
        return None
    numbers = {name: number for number, name in enumerate(names)} | {"": UNNAMED}
    return np.array([numbers[name] for name in tokens.segments], np.int64)


def _within(rows: Rows, named: Sequence[Array | None]) -> Sums:
    """mass and rows, [batch, head]: Σ of the rows' weights within their segments, and how many rows that is."""
    length = max(rows.key_lengths)
    table = np.full((len(named), length + 1), UNNAMED)
    for entry, numbers in enumerate(named):
        if numbers is not None:
            table[entry, : len(numbers)] = numbers
    segments = torch.from_numpy(table).to(rows.weights.device)

    def of(positions: torch.Tensor) -> torch.Tensor:
        return segments.gather(1, torch.where(positions < 0, length, positions))

    own, others = of(rows.query_positions), of(rows.key_positions)
    counts = (rows.real & (own >= 0)[:, None]).expand(rows.weights.shape[:3]).double()
    same = own[:, :, None] == others[:, None]
    mass = (rows.weights * same[:, None]).sum(-1, dtype=torch.float64)
    return {"mass": torch.where(counts > 0, mass, 0.0).sum(-1), "rows": counts.sum(-1)}
