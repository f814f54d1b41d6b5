"""The sink that sees where attention goes over the whole text; it holds a number per key and head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Profile, Received, Rows, Scores, Selection
from attncli.stream.moments import Moments
from attncli.stream.parts import Sums, add, join
from attncli.stream.protocol import selected
from attncli.stream.regions import ENDS, SELF_ONLY, Regions

Heads = tuple[int, ...]
Place = tuple[Kind, int, tuple[int, ...]]
VALUES = ("mass", "uniform_mass")


@dataclass(frozen=True, eq=False)
class _Layer:
    """What one layer of one text gave to each key: values, seen [head, key], rows [head]."""

    layer: int
    heads: Heads
    values: Array
    seen: Array
    rows: Array


@dataclass
class _Done:
    """Some heads of a layer over all texts so far: moments [head, region, mass or uniform mass]."""

    moments: Moments
    texts: int = 0


@dataclass
class _Open:
    """A layer of some texts whose rows are still going by."""

    key_lengths: tuple[int, ...]
    parts: dict[Heads, Sums] = field(default_factory=dict)


class MeasureProfile:
    """For every head: what each key gets, how far it looks, what the first and last `ends` tokens get."""

    def __init__(self, inputs: Sequence[Input], *, ends: int = 64, heads: Selection | None = None) -> None:
        self._inputs, self._heads = tuple(inputs), heads
        longest = max((len(side) for one in inputs for kind in KINDS for side in one.sides(kind)), default=1)
        self._regions = Regions(longest, ends)
        self._open: dict[Place, _Open] = {}
        self._received: dict[tuple[int, Kind], list[_Layer]] = {}
        self._done: dict[tuple[Kind, int, Heads], _Done] = {}

    def add(self, rows: Rows) -> None:
        """Sum up one block and let it go."""
        part = selected(rows, self._heads)
        if part is None:
            return
        parts = self._open.setdefault((part.kind, part.layer, part.texts), _Open(part.key_lengths)).parts
        parts[part.heads] = add(parts.get(part.heads), self._regions.sums(part) | _by_key(part))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Combine what a layer gave into the moments over texts."""
        for place in [place for place in self._open if place[:2] == (kind, layer)]:
            self._finish(place, self._open.pop(place))

    def result(self) -> Profile:
        """What was seen of all texts that went by."""
        several = any(done.texts > 1 for done in self._done.values())
        bins = self._regions.bins
        coords = (
            {"from": ("bin", np.array([near for near, _ in bins])), "to": ("bin", np.array([far for _, far in bins]))},
            {
                "end": ("end", np.array(ENDS, dtype=object)),
                "tokens": ("end", np.full(len(ENDS), self._regions.ends)),
            },
        )
        (distance, distance_std), (ends, ends_std) = (
            [self._scores(what, named) if several or what == "mean" else {} for what in ("mean", "std")]
            for named in coords
        )
        return Profile(self._by_text(), distance, ends, distance_std, ends_std)

    def _finish(self, place: Place, layer: _Open) -> None:
        kind, number, texts = place
        heads, total = join(layer.parts.items())
        counted = torch.where(total["uniform"] > 0, total["count"], torch.nan)
        means = torch.stack([total["mass"], total["uniform"]], dim=-1) / counted[..., None]
        found = means.cpu().numpy()
        if kind == "cross":
            found[:, :, [len(self._regions.bins) + ENDS.index(name) for name in SELF_ONLY]] = np.nan
        done = self._done.setdefault((kind, number, heads), _Done(Moments(found.shape[1:])))
        done.moments.add(found)
        done.texts += len(texts)
        received = (total["received"] / total["seen"]).cpu().numpy()
        seen, rows = (total[name].cpu().numpy().astype(np.int32) for name in ("seen", "rows"))
        for entry, (text, keys) in enumerate(zip(texts, layer.key_lengths, strict=True)):
            one = _Layer(number, heads, received[entry, :, :keys], seen[entry, :, :keys], rows[entry])
            self._received.setdefault((text, kind), []).append(one)

    def _by_text(self) -> tuple[Received, ...]:
        sides = {one.index: one for one in self._inputs}
        found = []
        for text, kind in sorted(self._received, key=lambda place: (place[0], KINDS.index(place[1]))):
            layers = sorted(self._received[text, kind], key=lambda one: one.layer)
            numbers = np.repeat([one.layer for one in layers], [len(one.heads) for one in layers])
            joined = (
                np.concatenate([getattr(one, name) for one in layers]) for name in ("heads", "values", "seen", "rows")
            )
            found.append(Received(text, kind, sides[text].sides(kind)[1], numbers, *joined))
        return tuple(found)

    def _scores(self, what: str, named: dict[str, tuple[str, Array]]) -> dict[str, Scores]:
        """The mean or std over texts as [head, bin] or [head, end], ordered by kind, layer and head."""
        dim = next(iter(named.values()))[0]
        bins = len(self._regions.bins)
        regions = slice(0, bins) if dim == "bin" else slice(bins, None)
        rows = []
        for (kind, layer, heads), done in self._done.items():
            if kind == "cross" and dim == "bin":  # i and j count different texts
                continue
            moments: Array = getattr(done.moments, what)
            rows += [((KINDS.index(kind), layer, head), moments[at, regions]) for at, head in enumerate(heads)]
        rows.sort(key=lambda row: row[0])
        coords = {
            "kind": ("head", np.array([KINDS[where[0]] for where, _ in rows], dtype=object)),
            "layer": ("head", np.array([where[1] for where, _ in rows], dtype=np.int64)),
            "head": ("head", np.array([where[2] for where, _ in rows], dtype=np.int64)),
            **named,
        }
        width = len(next(iter(named.values()))[1])
        values = np.array([value for _, value in rows]).reshape(len(rows), width, len(VALUES))
        source = "Xiao et al. 2023" if dim == "end" else "Vig & Belinkov 2019"
        return {
            name: Scores(name, values[..., at], ("head", dim), coords, "1", (0.0, 1.0), source)
            for at, name in enumerate(VALUES)
        }


def _by_key(rows: Rows) -> Sums:
    """received [batch, head, key] Σ_i A_ik, seen [batch, head, key] how many rows see k, rows [batch, head]."""
    heads, past = rows.weights.shape[1], max(rows.key_lengths)
    real = rows.real.to(rows.weights.dtype)[:, :, None].expand(-1, heads, -1, -1)
    slots = torch.where(rows.key_positions < 0, past, rows.key_positions)[:, None].expand(-1, heads, -1)
    blank = rows.weights.new_zeros((len(slots), heads, past + 1), dtype=torch.float64)
    given = {"received": (real @ rows.weights).squeeze(2), "seen": rows.seen.sum(2).expand(-1, heads, -1)}
    by_key = {name: blank.scatter_add(-1, slots, each.double())[..., :past] for name, each in given.items()}
    return by_key | {"rows": rows.real.sum(2).double().expand(-1, heads)}
