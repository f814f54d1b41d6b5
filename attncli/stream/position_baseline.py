"""What position alone would give: a head's mean weight at each offset, put on the keys that each row may see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from attncli.data import Kind, Rows, Visibility
from attncli.stream import Sink, selected
from attncli.stream.parts import Sums, add, join

Tensor = torch.Tensor
BLOCK_CELLS = 1 << 20


@dataclass
class _Open:
    """A layer of some texts whose rows are still going by."""

    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    parts: dict[tuple[int, ...], Sums] = field(default_factory=dict)


class PositionBaseline:
    """Feeds two sinks with what each layer would be: even over what is visible, and by position alone.

    uniform   gets rows with 1 / |S_i| on each visible key: of one head of a layer, where all heads see the same
    position  gets rows with p(j-i) / Σ_{k ∈ S_i} p(k-i), where p(o) is the head's mean weight A_i,i+o over the rows for
              which i+o is visible; of every head

    Either may be None. It holds a few numbers per head and token. A layer in which the keys that a row may see have
    gaps between them (Longformer's global tokens) is not fed: what rows see is kept as their first and last key.
    """

    def __init__(self, uniform: Sink | None, position: Sink | None) -> None:
        self._sinks = uniform, position
        self._open: dict[tuple[Kind, int, tuple[int, ...]], _Open] = {}

    def add(self, rows: Rows) -> None:
        """Sum up one block."""
        part = selected(rows, None)
        assert part is not None
        place = part.kind, part.layer, part.texts
        layer = self._open.setdefault(place, _Open(part.query_lengths, part.key_lengths))
        layer.parts[part.heads] = add(layer.parts.get(part.heads), _by_offset(part) | _spans(part))

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Make the rows of a layer and feed them, with the end of the layer."""
        for place in [place for place in self._open if place[:2] == (kind, layer)]:
            opened = self._open.pop(place)
            heads, total = join(opened.parts.items())
            if bool(total["gaps"].any()):
                continue
            profile = (total["mass"] / total["seen"]).nan_to_num()
            shared = all(bool((total[name] == total[name][:, :1]).all()) for name in ("first", "past"))
            even = torch.ones_like(profile[:, :1] if shared else profile)
            for sink, weights in zip(self._sinks, (even, profile), strict=True):
                if sink is None:
                    continue
                made = _Made(place, heads[: weights.shape[1]], opened, weights, total["first"], total["past"])
                for rows in made.rows():
                    sink.add(rows)
        for sink in self._sinks:
            if sink is not None:
                sink.end_layer(kind, layer)


@dataclass(frozen=True, eq=False)
class _Made:
    """Rows of weights that depend on the offset alone.

    profile      [text, head, offset] from as far back as there are queries to as far ahead as there are keys
    first, past  [text, head, row] the first key that each row may see, and the one behind the last
    """

    place: tuple[Kind, int, tuple[int, ...]]
    heads: tuple[int, ...]
    opened: _Open
    profile: Tensor
    first: Tensor
    past: Tensor

    def rows(self) -> Iterator[Rows]:
        """All of them, block by block: texts of the same lengths together."""
        lengths = list(zip(self.opened.query_lengths, self.opened.key_lengths, strict=True))
        for size in dict.fromkeys(lengths):
            entries = [entry for entry, length in enumerate(lengths) if length == size]
            step = max(1, BLOCK_CELLS // (len(entries) * len(self.heads) * size[1]))
            for start in range(0, size[0], step):
                yield self._block(entries, slice(start, min(start + step, size[0])), size)

    def _block(self, entries: list[int], rows: slice, size: tuple[int, int]) -> Rows:
        at = torch.arange(rows.start, rows.stop, device=self.profile.device).expand(len(entries), -1)
        keys = torch.arange(size[1], device=at.device).expand(len(entries), -1)
        count = len(self.heads)
        first, past = (side[entries, :count, rows, None] for side in (self.first, self.past))
        visible = (keys[:, None, None] >= first) & (keys[:, None, None] < past)
        # the row of query i begins at the offset -i
        behind = max(self.opened.query_lengths) - 1
        windows = self.profile[entries].unfold(-1, size[1], 1)
        weights = windows[:, :, behind - rows.stop + 1 : behind - rows.start + 1].flip(2) * visible
        total = weights.sum(-1, keepdim=True)
        kind, layer, texts = self.place
        visibility = Visibility(
            visible=visible,
            query_positions=at,
            key_positions=keys,
            special_keys=torch.zeros_like(keys, dtype=torch.bool),
            query_lengths=(size[0],) * len(entries),
            key_lengths=(size[1],) * len(entries),
            special_counts=(0,) * len(entries),
            runs=(rows, slice(0, size[1])),
        )
        weights = weights / total.clamp_min(torch.finfo(weights.dtype).tiny)
        return Rows(kind, layer, self.heads, tuple(texts[entry] for entry in entries), weights, visibility)


def _by_offset(rows: Rows) -> Sums:
    """mass, seen [batch, head, offset]: Σ_i A_i,i+o over the rows for which i+o is visible, and how many they are."""
    heads = rows.weights.shape[1]
    real = rows.real[..., None]
    seen = _along(real & rows.seen, rows)
    return {
        "mass": _along(rows.weights.where(real & rows.seen, 0.0), rows),
        "seen": seen.expand(-1, heads, -1),
    }


def _along(values: Tensor, rows: Rows) -> Tensor:
    """The sums of [batch, head, row, key] along the diagonals: [batch, head, offset] float64."""
    behind = max(rows.query_lengths) - 1
    width = behind + max(rows.key_lengths)
    count, keys = values.shape[2:]
    found = values.new_zeros((*values.shape[:2], width + 1), dtype=torch.float64)
    runs = rows.visibility.runs
    if runs is None:
        offsets = rows.key_positions[:, None] - rows.query_positions[..., None] + behind
        real = (rows.key_positions >= 0)[:, None] & (rows.query_positions >= 0)[..., None]
        slots = torch.where(real, offsets, width).flatten(1)[:, None].expand(-1, values.shape[1], -1)
        return found.scatter_add_(-1, slots, values.flatten(2).double())[..., :width]
    # rows end up one key further each when they are laid end to end and cut anew, so that diagonals stand upright
    laid = torch.nn.functional.pad(values.float().flip(2), (0, count)).flatten(2)[..., : count * (keys + count - 1)]
    start = runs[1].start - runs[0].start - (count - 1) + behind
    found[..., start : start + keys + count - 1] = laid.view(*laid.shape[:2], count, -1).sum(2, dtype=torch.float64)
    return found[..., :width]


def _spans(rows: Rows) -> Sums:
    """first, past [batch, head, row] of the keys that a row may see, gaps [batch, head]: rows that miss some."""
    heads, length = rows.weights.shape[1], max(rows.query_lengths)
    keys = rows.key_positions[:, None, None]
    first = torch.where(rows.seen, keys, max(rows.key_lengths)).amin(-1)
    past = torch.where(rows.seen, keys, -1).amax(-1) + 1
    gaps = rows.real & (past - first != rows.visible_count)
    slots = torch.where(rows.query_positions < 0, length, rows.query_positions)[:, None].expand(-1, heads, -1)

    def placed(values: Tensor) -> Tensor:
        blank = values.new_zeros((len(values), heads, length + 1))
        return blank.scatter_(-1, slots, values.where(rows.real, 0).expand(-1, heads, -1))[..., :length]

    return {"first": placed(first), "past": placed(past), "gaps": gaps.sum(-1).expand(-1, heads)}
