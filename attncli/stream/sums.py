"""What is left of a layer while its blocks go by: sums over keys for every row, over rows for every key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from attncli.data import NEAR, Columns, Metric, Rows, RowSums, Visibility

Tensor = torch.Tensor
Places = slice | Tensor
"""Where something stands: one after the other, or each by its number (-1 for padding)."""
OFFSETS = tuple(range(-NEAR, NEAR + 1))
RUN = 128


@dataclass(eq=False)
class _Strip:
    """What the blocks of all heads of some rows left, one after the other, each [batch, head, ...]."""

    visibility: Visibility
    places: list[int] = field(default_factory=list)
    weighed: list[Tensor] = field(default_factory=list)
    near: list[Tensor] = field(default_factory=list)
    mass: list[Tensor] = field(default_factory=list)


class LayerSums:
    """One layer of a batch, summed up block by block; nothing in it is as large as a map.

    Every tensor begins with [batch, head], heads in the order in which they came, and ends with the row or the key, of
    which the last is for padding. Each block pays for every call of torch: so there are few, and all that can wait is
    done once for the blocks of all heads that come with the same visibility, once for the layer, or once for the visibility
    itself, which layers share.
    """

    def __init__(self, rows: Rows, metrics: Sequence[Metric]) -> None:
        self.kind, self.texts = rows.kind, rows.texts
        self.query_lengths, self.key_lengths = rows.query_lengths, rows.key_lengths
        metrics = [metric for metric in metrics if metric.scope == "row" and rows.kind in metric.kinds]
        self._of_weights = [metric for metric in metrics if metric.needs is None]
        self._needs = tuple(dict.fromkeys(need for metric in metrics for need in metric.needs or ()))
        self._views = tuple(dict.fromkeys(view for metric in metrics for view in metric.views))
        self._places: dict[int, int] = {}
        self._tensors: dict[str, Tensor] = {}
        self._open: _Strip | None = None
        self._waiting: list[tuple[Places, Places, Tensor, Tensor]] = []

    @property
    def heads(self) -> tuple[int, ...]:
        """Head numbers, in order."""
        return tuple(sorted(self._places))

    def add(self, rows: Rows) -> None:
        """One block."""
        if self._open is None or self._open.visibility is not rows.visibility:
            self._settle()
            self._open = _Strip(rows.visibility)
        values = [rows.factor, *(need(rows) for need in self._needs)]
        values += [metric.compute(rows) for metric in self._of_weights]
        values = [each if each.shape == rows.factor.shape else each.expand_as(rows.factor) for each in values]
        self._open.places += [self._places.setdefault(head, len(self._places)) for head in rows.heads]
        self._open.weighed.append(torch.stack(values, dim=2))
        self._open.near.append(rows.raw_on(rows.visibility.near[0]))
        self._open.mass.append(_mass(rows))

    def _settle(self) -> None:
        """Put down what the blocks of the strip that came last left, and what their heads may see."""
        if self._open is None:
            return
        strip, self._open = self._open, None
        visibility, heads = strip.visibility, _run(strip.places)
        rows, keys = visibility.runs or (visibility.query_positions, visibility.key_positions)
        self._waiting.append((rows, heads, torch.cat(strip.weighed, dim=1), torch.cat(strip.near, dim=1)))
        self._add("mass", keys, heads, torch.cat(strip.mass, dim=1))
        alike = None if visibility.visible.shape[1] == 1 else heads
        self._lay("viewed", rows, alike, self._viewed(visibility), torch.float64)
        self._lay("near visible", rows, alike, visibility.near[1].transpose(2, 3), torch.bool)
        if alike is not None or 0 in strip.places:  # what all heads see is counted with the first of them
            self._add("seen", keys, alike, visibility.seen_by)

    def _finish(self) -> None:
        """Put down all that waits, in one go: between blocks, where it goes would have left the caches each time."""
        self._settle()
        for rows, heads, weighed, near in self._waiting:
            self._lay("weighed", rows, heads, weighed, torch.float64)
            self._lay("near", rows, heads, near.transpose(2, 3) * weighed[:, :, :1].to(near.dtype), near.dtype)
        self._waiting.clear()

    def _viewed(self, visibility: Visibility) -> Tensor:
        """How many keys each row may see and what else the measures take of it: [batch, 1 or head, n, row] float64."""
        if self._views not in visibility.memory:
            views = [visibility.visible_count, *(view(visibility).double() for view in self._views)]
            visibility.memory[self._views] = torch.stack(
                torch.broadcast_tensors(*views),  # type: ignore[no-untyped-call]
                dim=2,
            )
        viewed: Tensor = visibility.memory[self._views]
        return viewed

    def row_values(self, metrics: Sequence[Metric]) -> Iterator[Tensor]:
        """One row measure after another, NaN where undefined: [batch, head, row] float64, heads in order."""
        self._finish()
        count, *viewed = self._in_order("viewed").unbind(2)
        factor, *weighed = self._in_order("weighed").unbind(2)
        memory = dict(zip((*self._needs, *self._views), (*weighed[: len(self._needs)], *viewed), strict=True))
        whole = dict(zip((metric.name for metric in self._of_weights), weighed[len(self._needs) :], strict=True))
        rows = RowSums(factor, count > 0, count, self._near(), memory)
        for metric in metrics:
            if self.kind not in metric.kinds:
                yield torch.full_like(factor, torch.nan)
            else:
                yield (whole[metric.name] if metric.needs is None else metric.compute(rows)).expand_as(factor)

    def columns(self) -> Columns:
        """The sums over rows, heads in order."""
        self._finish()
        weights, visible = (part.transpose(2, 3) for part in self._near())
        return Columns(
            kind=self.kind,
            mass=self._in_order("mass"),
            seen=self._in_order("seen"),
            offset_mass=(weights * visible).sum(3, dtype=torch.float64),
            offset_seen=visible.sum(3).double(),
            offsets=OFFSETS,
            rows=(self._in_order("viewed")[:, :, 0] > 0).sum(2).double(),
        )

    def _near(self) -> tuple[Tensor, Tensor]:
        weights, visible = (self._in_order(name).transpose(2, 3) for name in ("near", "near visible"))
        return weights, visible

    def _in_order(self, name: str) -> Tensor:
        """Without the place of padding."""
        order, sums = [self._places[head] for head in self.heads], self._tensors[name][..., :-1]
        alike = sums.shape[1] == 1 or order == list(range(len(order)))
        return sums if alike else sums[:, order]

    def _tensor(self, name: str, heads: Places | None, like: Tensor, dtype: torch.dtype, *shape: int) -> Tensor:
        """The sums of this name, with zeros for heads that are new; of one head where it stands for all."""
        there, count = self._tensors.get(name), 1 if heads is None else len(self._places)
        if there is None or there.shape[1] < count:
            grown = like.new_zeros((len(self.texts), count, *shape), dtype=dtype)
            if there is not None:
                grown[:, : there.shape[1]] = there
            there = self._tensors[name] = grown
        return there

    def _lay(self, name: str, rows: Places, heads: Places | None, values: Tensor, dtype: torch.dtype) -> None:
        """Put values [batch, 1 or head, n, row] where the rows stand in their texts."""
        end = max(self.query_lengths)
        sums, heads = self._tensor(name, heads, values, dtype, values.shape[2], end + 1), _or_one(heads)
        if isinstance(rows, slice):
            sums[:, heads, :, rows] = values
            return
        for text, positions in enumerate(rows):
            there, given = sums[text, heads], values[min(text, len(values) - 1)].to(dtype)
            place = torch.where(positions < 0, end, positions)
            sums[text, heads] = there.index_copy(2, place, given.expand(len(there), -1, -1))

    def _add(self, name: str, keys: Places, heads: Places | None, values: Tensor) -> None:
        """Add values [batch, 1 or head, key] to where the keys stand in their texts."""
        end = max(self.key_lengths)
        sums, heads = self._tensor(name, heads, values, torch.float64, end + 1), _or_one(heads)
        if isinstance(keys, slice):
            sums[:, heads, keys] += values
            return
        there = sums[:, heads]
        place = torch.where(keys < 0, end, keys)[:, None]
        values = values.double().expand(-1, there.shape[1], -1)
        sums[:, heads] = there.scatter_add(-1, place.expand_as(values), values)


def column_values(columns: Columns, metrics: Sequence[Metric]) -> Iterator[Tensor]:
    """One column measure after another, NaN where undefined: [batch, head] or, by key, [batch, head, key] float64."""
    for metric in metrics:
        if columns.kind in metric.kinds:
            yield metric.compute(columns)
        else:
            yield torch.full_like(columns.mass if metric.per_key else columns.mass[..., 0], torch.nan)


def _run(places: Sequence[int]) -> Places:
    """Places as a slice, where they follow each other."""
    run = slice(places[0], places[0] + len(places))
    return run if list(places) == list(range(run.start, run.stop)) else torch.tensor(places)


def _or_one(heads: Places | None) -> Places:
    return slice(0, 1) if heads is None else heads


def _mass(rows: Rows) -> Tensor:
    """Σ_i A_ik over the real rows of the block: [batch, head, key], runs of 128 rows in float32."""
    factors, real = rows.factor, rows.visibility.real_factor
    if real is not None:
        factors = factors * real.to(factors.dtype)
    factors, weights = factors.flatten(0, 1)[:, None], rows.raw.flatten(0, 1)
    runs = range(0, rows.raw.shape[2], RUN)
    parts = [torch.bmm(factors[..., at : at + RUN], weights[:, at : at + RUN]) for at in runs]
    mass = parts[0] if len(parts) == 1 else torch.stack(parts).sum(0, dtype=torch.float64)
    return mass.view(*rows.raw.shape[:2], -1)
