"""What is left of a layer while its blocks go by: sums over keys for every row, over rows for every key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from attncli.data import NEAR, Columns, Metric, Rows, RowSums, Sight

Tensor = torch.Tensor
Places = slice | Tensor
OFFSETS = tuple(range(-NEAR, NEAR + 1))
RUN = 128


@dataclass(eq=False)
class _Strip:
    """What the blocks of all heads of some rows left, one after the other, each [batch, head, ...]."""

    sight: Sight
    places: list[int] = field(default_factory=list)
    weighed: list[Tensor] = field(default_factory=list)
    near: list[Tensor] = field(default_factory=list)
    mass: list[Tensor] = field(default_factory=list)


class LayerSums:
    """One layer of a batch, summed up block by block; nothing in it is as large as a map.

    Every tensor begins with [batch, head], heads in the order in which they came, and ends with the row or the key, of
    which the last is for padding. Each block pays for every call of torch: so there are few, and all that can wait is
    done once for the blocks of all heads that come with the same sight.
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

    @property
    def heads(self) -> tuple[int, ...]:
        """Head numbers, in order."""
        return tuple(sorted(self._places))

    def add(self, rows: Rows) -> None:
        """One block."""
        if self._open is None or self._open.sight is not rows.sight:
            self._settle()
            self._open = _Strip(rows.sight)
        values = [need(rows) for need in self._needs] + [metric.compute(rows) for metric in self._of_weights]
        self._open.places += [self._places.setdefault(head, len(self._places)) for head in rows.heads]
        self._open.near.append(rows.near[0])
        self._open.mass.append(_mass(rows))
        if values:
            shape = rows.raw.shape[:3]
            values = [each if each.shape == shape else each.expand(shape) for each in values]
            self._open.weighed.append(torch.stack(values, dim=2))

    def _settle(self) -> None:
        """Put down what the blocks of the strip that came last left, and what their heads may see."""
        if self._open is None:
            return
        strip, self._open = self._open, None
        sight, heads = strip.sight, _run(strip.places)
        if strip.weighed:
            self._lay("weighed", sight, heads, torch.cat(strip.weighed, dim=1).double())
        self._lay("near", sight, heads, torch.cat(strip.near, dim=1).transpose(2, 3))
        self._add("mass", sight, heads, torch.cat(strip.mass, dim=1))
        views = [sight.visible_count, *(view(sight).double() for view in self._views)]
        alike = torch.broadcast_tensors(*views)  # type: ignore[no-untyped-call]
        self._lay("viewed", sight, heads, torch.stack(alike, dim=2))
        self._lay("near visible", sight, heads, sight.near[1].transpose(2, 3))
        self._add("seen", sight, heads, sight.seen_by)

    def row_values(self, metrics: Sequence[Metric]) -> Iterator[Tensor]:
        """One row measure after another, NaN where undefined: [batch, head, row] float64, heads in order."""
        self._settle()
        count, *viewed = self._in_order("viewed")[..., :-1].unbind(2)
        weighed = self._in_order("weighed")[..., :-1].unbind(2) if "weighed" in self._tensors else ()
        memory = dict(zip((*self._needs, *self._views), (*weighed[: len(self._needs)], *viewed), strict=True))
        whole = dict(zip((metric.name for metric in self._of_weights), weighed[len(self._needs) :], strict=True))
        rows = RowSums(count > 0, count, self._near(), memory)
        for metric in metrics:
            if self.kind not in metric.kinds:
                yield torch.full_like(count, torch.nan)
            else:
                yield whole[metric.name] if metric.needs is None else metric.compute(rows)

    def columns(self) -> Columns:
        """The sums over rows, heads in order."""
        self._settle()
        weights, visible = (part.transpose(2, 3) for part in self._near())
        visible = visible.double()
        return Columns(
            kind=self.kind,
            mass=self._in_order("mass")[..., :-1],
            seen=self._in_order("seen")[..., :-1],
            offset_mass=(weights * visible).sum(3),
            offset_seen=visible.sum(3),
            offsets=OFFSETS,
            rows=(self._in_order("viewed")[:, :, 0, :-1] > 0).sum(2).double(),
        )

    def _near(self) -> tuple[Tensor, Tensor]:
        weights, visible = (self._in_order(name)[..., :-1].transpose(2, 3) for name in ("near", "near visible"))
        return weights, visible

    def _in_order(self, name: str) -> Tensor:
        order, sums = [self._places[head] for head in self.heads], self._tensors[name]
        return sums if order == list(range(len(order))) else sums[:, order]

    def _tensor(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """The sums of this name, with zeros for heads that are new."""
        there = self._tensors.get(name)
        if there is None or there.shape[1] < len(self._places):
            grown = like.new_zeros((len(self.texts), len(self._places), *shape))
            if there is not None:
                grown[:, : there.shape[1]] = there
            there = self._tensors[name] = grown
        return there

    def _lay(self, name: str, sight: Sight, heads: Places, values: Tensor) -> None:
        """Put values [batch, 1 or head, n, row] where the rows stand in their texts."""
        end = max(self.query_lengths)
        sums = self._tensor(name, values, values.shape[2], end + 1)
        if sight.runs is not None:
            sums[:, heads, :, sight.runs[0]] = values
            return
        for text, positions in enumerate(sight.query_positions):
            there = sums[text, heads]
            place = torch.where(positions < 0, end, positions)
            sums[text, heads] = there.index_copy(
                2, place, values[min(text, len(values) - 1)].expand(len(there), -1, -1)
            )

    def _add(self, name: str, sight: Sight, heads: Places, values: Tensor) -> None:
        """Add values [batch, 1 or head, key] to where the keys stand in their texts."""
        end = max(self.key_lengths)
        sums = self._tensor(name, sight.visible_count, end + 1)
        if sight.runs is not None:
            sums[:, heads, sight.runs[1]] += values
            return
        there = sums[:, heads]
        place = torch.where(sight.key_positions < 0, end, sight.key_positions)[:, None]
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


def _mass(rows: Rows) -> Tensor:
    """Σ_i A_ik over the real rows of the block: [batch, head, key], runs of 128 rows in float32."""
    factors = rows.scaled(rows.sight.real_factor.to(rows.raw.dtype).expand(rows.raw.shape[:3]))[:, :, None]
    if rows.raw.shape[2] <= RUN:
        return (factors @ rows.raw)[:, :, 0]
    runs = range(0, rows.raw.shape[2], RUN)
    parts = [(factors[..., at : at + RUN] @ rows.raw[:, :, at : at + RUN])[:, :, 0].double() for at in runs]
    return torch.stack(parts).sum(0)
