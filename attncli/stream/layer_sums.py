"""One layer reduced to sums while its blocks stream: over keys for every row, over rows for every key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from itertools import chain
from typing import Any

import torch

from attncli import registry
from attncli.data import Columns, Metric, Rows, RowSum, RowSums, Visibility
from attncli.data.measures import is_defined_for
from attncli.errors import AttnError, UsageError

Tensor = torch.Tensor
Positions = slice | Tensor
"""Consecutive positions as a slice, or [batch, n] single positions (-1 for padding)."""
Heads = slice | Tensor
"""Consecutive head indices as a slice, or single indices."""
_CHUNK = 128


class LayerSums:
    """One layer of a batch, summed up block by block; nothing in it is as large as a map.

    Every tensor is [batch, head, ..., row or key], with heads in the order in which they came and a last entry for
    padding. Every call of torch costs time for each block, so each block makes few calls. The rest is computed once for
    the blocks of all heads with the same visibility (a strip), once per layer, or once per visibility, which layers
    share.
    """

    def __init__(self, rows: Rows, metrics: Sequence[Metric]) -> None:
        self.kind, self.texts = rows.kind, rows.texts
        self.query_lengths, self.key_lengths = rows.query_lengths, rows.key_lengths
        metrics = [metric for metric in metrics if metric.scope == "row" and is_defined_for(metric, rows.kind)]
        self._weight_metrics = [metric for metric in metrics if metric.needs is None]
        self._needs = {need: metric for metric in metrics for need in metric.needs or ()}
        self._visibility_needs = {need: metric for metric in metrics for need in metric.needs_visibility}
        self._head_index: dict[int, int] = {}
        self._sums: dict[str, Tensor] = {}
        # of each block: head indices, values of the rows, weights near the diagonal, mass of the keys
        self._strip: list[tuple[list[int], Tensor, Tensor, Tensor]] = []
        self._strip_visibility = rows.visibility
        self._waiting: list[tuple[Positions, Heads, Tensor, Tensor]] = []

    @classmethod
    def joined(cls, layers: Sequence[LayerSums]) -> LayerSums:
        """Return several layers (see `joins`) as one, in which each text occurs once for each layer."""
        if len(layers) == 1:
            return layers[0]
        whole = copy(layers[0])
        whole.texts, whole.query_lengths, whole.key_lengths = (
            tuple(chain.from_iterable(getattr(layer, name) for layer in layers))
            for name in ("texts", "query_lengths", "key_lengths")
        )
        whole._sums = {name: torch.cat([layer._sums[name] for layer in layers]) for name in whole._sums}
        return whole

    def joins(self, other: LayerSums) -> bool:
        """Return whether another layer has the same texts and heads: metrics can then be computed of both at once."""
        return self._form == other._form

    @property
    def _form(self) -> tuple[Any, ...]:
        tensors = {name: (tensor.shape, tensor.dtype, tensor.device) for name, tensor in self._sums.items()}
        return self.kind, self.texts, tuple(self._head_index), tensors

    @property
    def device(self) -> torch.device:
        """The device of the sums."""
        return self._sums["rows"].device

    @property
    def rows(self) -> int:
        """The number of rows of all heads and texts."""
        return len(self.texts) * len(self._head_index) * max(self.query_lengths)

    @property
    def heads(self) -> tuple[int, ...]:
        return tuple(sorted(self._head_index))

    def add(self, rows: Rows) -> None:
        if self._strip_visibility is not rows.visibility:
            self._close_strip()
            self._strip_visibility = rows.visibility
        values = [rows.factor, *(_computed(metric, need, rows, rows.factor) for need, metric in self._needs.items())]
        values += [_computed(metric, metric.compute, rows, rows.factor) for metric in self._weight_metrics]
        heads = [self._head_index.setdefault(head, len(self._head_index)) for head in rows.heads]
        self._strip.append((heads, torch.stack(values, dim=2), rows.raw_at(rows.visibility.near[0]), _mass(rows)))

    def _close_strip(self) -> None:
        """Store the values of the last strip, and the keys that are visible to its heads."""
        if not self._strip:
            return
        blocks_of_heads, *parts = zip(*self._strip, strict=True)
        row_values, near, mass = (torch.cat(part, dim=1) for part in parts)
        indices = [index for heads in blocks_of_heads for index in heads]
        visibility, heads = self._strip_visibility, _as_slice(indices)
        self._strip = []
        rows, keys = visibility.slices or (visibility.query_positions, visibility.key_positions)
        self._waiting.append((rows, heads, row_values, near))
        self._add_keys("mass", keys, heads, mass)
        mask_heads = None if visibility.visible.shape[1] == 1 else heads
        self._put_rows("visibility", rows, mask_heads, self._visibility_values(visibility), torch.float64)
        self._put_rows("near visible", rows, mask_heads, visibility.near[1].transpose(2, 3), torch.bool)
        if mask_heads is not None or 0 in indices:  # a mask shared by all heads is counted with the first head
            self._add_keys("visible rows", keys, mask_heads, visibility.visible_rows)

    def close(self) -> None:
        """Store all waiting values at once: between blocks their targets would have left the caches each time."""
        self._close_strip()
        for rows, heads, values, near in self._waiting:
            self._put_rows("rows", rows, heads, values, torch.float64)
            self._put_rows("near", rows, heads, near.transpose(2, 3) * values[:, :, :1].to(near.dtype), near.dtype)
        self._waiting.clear()

    def _visibility_values(self, visibility: Visibility) -> Tensor:
        """Return |S_i| and the other values of the visibility that metrics need: [batch, 1 or head, n, row] float64."""
        needs, count = tuple(self._visibility_needs), visibility.visible_count
        if needs not in visibility.cache:
            computed = (_computed(metric, need, visibility) for need, metric in self._visibility_needs.items())
            values = [count, *(value.double() for value in computed)]
            visibility.cache[needs] = torch.stack(torch.broadcast_tensors(*values), 2)  # type: ignore[no-untyped-call]
        stacked: Tensor = visibility.cache[needs]
        return stacked

    def row_values(self, metrics: Sequence[Metric]) -> Iterator[Tensor]:
        """Yield the values of one row metric after the other: [batch, head, row] float64, NaN where undefined."""
        self.close()
        count, *of_visibility = self._in_order("visibility").unbind(2)
        factor, *of_rows = self._in_order("rows").unbind(2)
        needed, computed = of_rows[: len(self._needs)], of_rows[len(self._needs) :]
        cache = dict(zip((*self._needs, *self._visibility_needs), (*needed, *of_visibility), strict=True))
        by_name = dict(zip((metric.name for metric in self._weight_metrics), computed, strict=True))
        weights, visible = (self._in_order(name).transpose(2, 3) for name in ("near", "near visible"))
        rows = RowSums(factor, count > 0, count, (weights, visible), cache)
        for metric in metrics:
            if not is_defined_for(metric, self.kind):
                yield torch.full_like(factor, torch.nan)
            else:
                known = by_name.get(metric.name) if metric.needs is None else None
                yield _computed(metric, metric.compute, rows, factor) if known is None else known.expand_as(factor)

    def columns(self) -> Columns:
        """Return the sums over rows, with heads in order."""
        self.close()
        weights, visible = (self._in_order(name) for name in ("near", "near visible"))
        return Columns(
            kind=self.kind,
            mass=self._in_order("mass"),
            visible_rows=self._in_order("visible rows"),
            offset_mass=(weights * visible).sum(3, dtype=torch.float64),
            offset_rows=visible.sum(3).double(),
            rows=(self._in_order("visibility")[:, :, 0] > 0).sum(2).double(),
        )

    def _in_order(self, name: str) -> Tensor:
        """Return the tensor with heads in order, without the entry for padding."""
        order, sums = [self._head_index[head] for head in self.heads], self._sums[name][..., :-1]
        return sums if sums.shape[1] == 1 or order == sorted(order) else sums[:, order]

    def _tensor(self, name: str, heads: Heads | None, like: Tensor, dtype: torch.dtype, *shape: int) -> Tensor:
        """Return the tensor of this name, extended by zeros for new heads; with one head if `heads` is None."""
        tensor, count = self._sums.get(name), 1 if heads is None else len(self._head_index)
        if tensor is None or tensor.shape[1] < count:
            extended = like.new_zeros((len(self.texts), count, *shape), dtype=dtype)
            if tensor is not None:
                extended[:, : tensor.shape[1]] = tensor
            tensor = self._sums[name] = extended
        return tensor

    def _put_rows(self, name: str, rows: Positions, heads: Heads | None, values: Tensor, dtype: torch.dtype) -> None:
        """Store values [batch, 1 or head, n, row] at the positions of the rows."""
        padding = max(self.query_lengths)
        tensor = self._tensor(name, heads, values, dtype, values.shape[2], padding + 1)
        heads = slice(0, 1) if heads is None else heads
        if isinstance(rows, slice):
            tensor[:, heads, :, rows] = values
            return
        for text, positions in enumerate(rows):
            old, new = tensor[text, heads], values[min(text, len(values) - 1)].to(dtype)
            index = torch.where(positions < 0, padding, positions)
            tensor[text, heads] = old.index_copy(2, index, new.expand(len(old), -1, -1))

    def _add_keys(self, name: str, keys: Positions, heads: Heads | None, values: Tensor) -> None:
        """Add values [batch, 1 or head, key] at the positions of the keys."""
        padding = max(self.key_lengths)
        tensor = self._tensor(name, heads, values, torch.float64, padding + 1)
        heads = slice(0, 1) if heads is None else heads
        if isinstance(keys, slice):
            tensor[:, heads, keys] += values
            return
        old = tensor[:, heads]
        index = torch.where(keys < 0, padding, keys)[:, None]
        values = values.double().expand(-1, old.shape[1], -1)
        tensor[:, heads] = old.scatter_add(-1, index.expand_as(values), values)


def column_values(columns: Columns, metrics: Sequence[Metric]) -> Iterator[Tensor]:
    """Yield the values of each column metric: [batch, head] or [batch, head, key] float64, NaN where undefined."""
    for metric in metrics:
        like = columns.mass if metric.per_key else columns.mass[..., 0]
        if is_defined_for(metric, columns.kind):
            yield _computed(metric, metric.compute, columns, like)
        else:
            yield torch.full_like(like, torch.nan)


def _computed(metric: Metric, compute: RowSum, argument: object, like: Tensor | None = None) -> Tensor:
    """Return the numbers that a metric or a function that it needs computes, in the shape of `like` if it is given.

    Raise UsageError that names the metric and its package, if it is of another package and fails.
    """
    try:
        values: Tensor = compute(argument)
        if not isinstance(values, Tensor):
            raise TypeError(f"expected a torch.Tensor, got {type(values).__name__}")
        return values if like is None or values.shape == like.shape else values.expand_as(like)
    except Exception as error:  # code of other people may raise anything
        package = registry.package_of("metrics", metric.name)
        if package is None or isinstance(error, AttnError):
            raise
        raise UsageError(
            f"metric '{metric.name}' of package {package} failed with {type(error).__name__}: {error}; choose other "
            "metrics, or repair the package"
        ) from error


def _as_slice(indices: Sequence[int]) -> Heads:
    """Return consecutive indices as a slice, others as a tensor."""
    run = slice(indices[0], indices[0] + len(indices))
    return run if list(indices) == list(range(run.start, run.stop)) else torch.tensor(indices)


def _mass(rows: Rows) -> Tensor:
    """Return Σ_i A_ik over the real rows of the block: [batch, head, key], chunks of 128 rows in float32."""
    factors, real = rows.factor, rows.visibility.real_factor
    if real is not None:
        factors = factors * real.to(factors.dtype)
    factors, weights = factors.flatten(0, 1)[:, None], rows.raw.flatten(0, 1)
    starts = range(0, rows.raw.shape[2], _CHUNK)
    parts = [torch.bmm(factors[..., at : at + _CHUNK], weights[:, at : at + _CHUNK]) for at in starts]
    mass = parts[0] if len(parts) == 1 else torch.stack(parts).sum(0, dtype=torch.float64)
    return mass.view(*rows.raw.shape[:2], -1)
